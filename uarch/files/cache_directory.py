"""The directory of derived data: one that nobody else can write, or none.

Numba reads its files by executing what is in them, so whoever can write into the directory can run code as its user.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from functools import cache
from pathlib import Path

import platformdirs

from uarch.files.keys import source_key


class UnsafeDirectoryError(Exception):
    """A directory that others could have put something into."""


@cache
def cache_directory() -> Path | None:
    """Return the directory of compiled code and other derived data of these sources; None if there is no safe place.

    It lies in the folder that ``NUMBA_CACHE_DIR`` names, else in the user's cache; where that cannot be written, in the
    folder for temporary files. Its mode is 0700. If one exists that belongs to somebody else or that others may write, a
    line on standard error says so, and nothing is kept.
    """
    key = source_key("uarch", suffixes=(".py",))
    named = os.environ.get("NUMBA_CACHE_DIR")
    base = Path(named) if named else Path(platformdirs.user_cache_dir("uarch"))
    for path in (base / f"uarch-{key}", Path(tempfile.gettempdir()) / f"uarch-{os.geteuid()}-{key}"):
        try:
            return private_directory(path)
        except UnsafeDirectoryError as error:
            print(f"note: nothing is kept for later runs: {error}", file=sys.stderr)  # noqa: T201
            return None
        except OSError:
            continue
    return None


def private_directory(path: Path) -> Path:
    """Make a directory of mode 0700, or take one that is this user's and that nobody else can write.

    Raises
    ------
    UnsafeDirectoryError
        The directory belongs to somebody else, others can write it, or it is a link.
    OSError
        It can neither be made nor written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise UnsafeDirectoryError(f"{path} is a link")
    if status.st_uid != os.geteuid():
        raise UnsafeDirectoryError(f"{path} belongs to another user (number {status.st_uid})")
    if status.st_mode & 0o022:
        raise UnsafeDirectoryError(f"{path} can be written by others (mode {stat.S_IMODE(status.st_mode):04o})")
    if status.st_mode & 0o077:
        path.chmod(0o700)
    if not os.access(path, os.W_OK | os.X_OK):
        raise OSError(f"{path} cannot be written")
    return path
