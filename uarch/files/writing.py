"""Writing output: the one way in which a file comes to be, complete or not at all.

Content goes to a temporary file beside the target, which takes the target's name when all of it is on the disk. A process
that is killed leaves its temporary file, which holds no lock any more: whoever writes the same target next removes it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

_WRITERS = 16
"""Processes that can write the same file at the same time."""
_LINKS = 40
"""Symbolic links that are followed, as many as Linux follows."""
_OPEN_FILE = re.compile(r"/(?:proc/self|dev)/fd/(\d+)")


def check_output(path: Path) -> None:
    """Find out before long work whether its result can go to ``path``, as far as that can be known without writing.

    Raises:
        OSError: ``path`` is a folder, or its folder does not exist or cannot be written.
    """
    if path.is_dir():
        raise OSError(errno.EISDIR, "not a regular file", str(path))
    if _is_stream(path):
        return
    folder = _target(path).parent
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such directory", str(folder))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "no permission to write", str(folder))


@contextmanager
def output_file(path: Path, *, durable: bool = True) -> Iterator[io.BufferedRandom]:
    """Give the body a binary file; what it holds when the body has succeeded is the content of ``path``.

    A symbolic link is followed. Devices, pipes and names of open files such as ``/dev/stdout`` get the content at the end;
    all else is replaced as a whole, and keeps its permissions.

    Parameters
    ----------
    path
        The file to write.
    durable
        Whether the content must outlast a power failure. Not needed for files that are checked when they are read.

    Raises
    ------
    OSError
        ``path`` cannot be written, with ``path`` (never the temporary name) as its ``filename``; it is as it was before.
    """
    check_output(path)
    try:
        with _into_stream(path) if _is_stream(path) else _replacing(_target(path), durable) as file:
            yield file
    except OSError as error:
        raise OSError(error.errno or errno.EIO, _reason(error), str(path)) from error


@contextmanager
def text_of(file: io.BufferedRandom) -> Iterator[TextIO]:
    """Give the body a text file (UTF-8, line ends as they are written) whose content goes to ``file``."""
    text = io.TextIOWrapper(file, "utf-8", newline="")
    yield text
    text.detach()


def write_output(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Write ``content`` (text as UTF-8) to ``path`` as :func:`output_file` does."""
    with output_file(path, durable=durable) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def _target(path: Path) -> Path:
    """Find the file that ``path`` stands for, symbolic links followed."""
    target = Path(os.path.realpath(path))
    if target.is_symlink():  # what is left of links in a circle
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return target


def _is_stream(path: Path) -> bool:
    """Whether ``path`` takes bytes but cannot be replaced by a file."""
    if _open_file_number(path) is not None:
        return True
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _open_file_number(path: Path) -> int | None:
    """Return the number of the open file of this process that ``path`` names, as ``/dev/stdout`` does; None for others."""
    name = os.path.abspath(path)  # noqa: PTH100 (a path that is made absolute without following links)
    for _ in range(_LINKS):
        match = _OPEN_FILE.fullmatch(name)
        if match:
            return int(match[1])
        if not os.path.islink(name):  # noqa: PTH114
            return None
        name = os.path.normpath(os.path.join(os.path.dirname(name), os.readlink(name)))  # noqa: PTH115, PTH118, PTH120
    return None


@contextmanager
def _into_stream(path: Path) -> Iterator[io.BufferedRandom]:
    """Collect the content, since HDF5 and others move about in their files, and send it at the end."""
    with tempfile.TemporaryFile() as file:
        yield file
        file.seek(0)
        sys.stdout.flush()
        number = _open_file_number(path)
        descriptor = os.open(path, os.O_WRONLY) if number is None else os.dup(number)
        with os.fdopen(descriptor, "wb") as stream:
            shutil.copyfileobj(file, stream)


@contextmanager
def _replacing(target: Path, durable: bool) -> Iterator[io.BufferedRandom]:
    temporary, descriptor = _claim(target)
    file = os.fdopen(descriptor, "w+b")
    try:
        with suppress(OSError):
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        yield file
        file.flush()
        if durable:
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        with suppress(OSError):
            file.close()
        raise
    file.close()
    if durable:
        _sync_folder(target.parent)


def _claim(target: Path) -> tuple[Path, int]:
    """Make a temporary file for ``target`` and lock it; remove those that dead processes have left."""
    name = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]
    temporaries = [target.parent / f".uarch-{name}-{number}.part" for number in range(_WRITERS)]
    for temporary in temporaries:
        _remove_abandoned(temporary)
    for temporary in temporaries:
        try:
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            continue
        if _lock(descriptor) is not False and _is_same_file(temporary, descriptor):
            return temporary, descriptor
        os.close(descriptor)  # another process took it for abandoned before it was locked
    raise OSError(errno.EBUSY, f"{_WRITERS} others are writing it", str(target))


def _remove_abandoned(temporary: Path) -> None:
    """Remove a temporary file that nobody has locked."""
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        if _lock(descriptor) and _is_same_file(temporary, descriptor):
            with suppress(OSError):
                temporary.unlink()
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Lock a file until it is closed; False if another process has it, None if the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_same_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except OSError:
        return False


def _sync_folder(folder: Path) -> None:
    """Have the new name of a file outlast a power failure, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _reason(error: OSError) -> str:
    """Say what went wrong in one line: libraries below put addresses and times into their messages."""
    if error.errno == errno.EBUSY and error.strerror:
        return error.strerror
    if error.errno:
        return os.strerror(error.errno)
    known = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS)]
    return next((reason for reason in known if reason in str(error)), "the file could not be written")
