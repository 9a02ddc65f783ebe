"""The raw file below HDF5: its errors are kept for the writer, because HDF5 does not survive them."""

from __future__ import annotations

import io
from typing import Any


class _DiskFile(io.RawIOBase):
    """A file that keeps the first error of the disk to itself and discards what is written after it.

    HDF5 ends the process if a write fails while it closes a file; it is told of no failure, and the writer asks for
    ``error`` when HDF5 is done.
    """

    def __init__(self, file: io.BufferedRandom) -> None:
        self.error: OSError | None = None
        self._file = file.raw

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any, /) -> int:
        return self._file.readinto(buffer) or 0

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return self._file.truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        written = 0
        try:
            while self.error is None and written < len(view):
                written += self._file.write(view[written:])
        except OSError as error:
            self.error = error
        return len(view)


def open_disk_file(file: io.BufferedRandom) -> _DiskFile:
    """Return a file for HDF5 that writes into ``file``; its ``error`` is the first ``OSError`` of a write, or None."""
    return _DiskFile(file)
