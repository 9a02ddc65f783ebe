"""Files that exist completely or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_replaceable(path: Path) -> None:
    """Find out before long work whether its result can go to ``path``, as far as that can be known without writing.

    Raises:
        OSError: ``path`` is no regular file, or its directory does not exist or cannot be written.
    """
    if path.exists() and not path.is_file():
        number = errno.EISDIR if path.is_dir() else errno.EINVAL
        raise OSError(number, "not a regular file", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such directory", str(path.parent))
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "no permission to write", str(path.parent))


@contextmanager
def replace_when_complete(path: Path) -> Iterator[Path]:
    """Give the body a temporary path beside ``path``; rename it to ``path`` if the body succeeds, else remove it.

    Raises:
        OSError: ``path`` cannot be written, with ``path`` (never the temporary name) as its ``filename``.
    """
    check_replaceable(path)
    temporary = path.parent / f".{secrets.token_hex(8)}.part"
    try:
        yield temporary
        os.replace(temporary, path)  # noqa: PTH105 (one call for both systems' atomic rename)
    except OSError as error:
        raise OSError(error.errno or errno.EIO, _reason(error), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def _reason(error: OSError) -> str:
    """What went wrong, in one line: libraries below put addresses and times into their messages."""
    if error.errno:
        return os.strerror(error.errno)
    known = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS)]
    return next((reason for reason in known if reason in str(error)), "the file could not be written")
