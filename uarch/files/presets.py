"""Files that users name: those that come with the package by their name, a user's own by its path."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from uarch.errors import InputError, unknown_name
from uarch.files.keys import file_key
from uarch.files.reading import one_line


@dataclass(frozen=True)
class Presets:
    """Declarative files of one kind: a folder of the package, and files of the same layout anywhere else.

    A path works wherever a name does. Paths are relative to the working directory.

    Parameters
    ----------
    kind
        What messages call one of the files, such as ``stack``.
    folder
        Where the package's own files lie; the name of one is its file name without the suffix.
    suffix
        Ending of the files; whatever ends in it is taken for a path, so that reading it says what is wrong with it.
    more
        Other forms that the caller takes besides names and paths, for messages alone.

    Examples
    --------
    >>> from uarch.chip_file import CHIPS
    >>> CHIPS.find("h100").name
    'h100.toml'
    >>> CHIPS.find("designs/mine.toml").as_posix()
    'designs/mine.toml'
    """

    kind: str
    folder: Path
    suffix: str = ".toml"
    more: tuple[str, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the files that come with the package, sorted."""
        return tuple(sorted(path.stem for path in self.folder.glob(f"*{self.suffix}")))

    def find(self, name_or_path: str, field: str = "") -> Path:
        """File of a name or path.

        ``InputError`` for what is neither a name nor a file; its message starts with ``field = 'name_or_path'`` if the field
        that holds the name is given.
        """
        if name_or_path in self.names:
            return self.folder / f"{name_or_path}{self.suffix}"
        if self.knows(name_or_path):
            return Path(name_or_path)
        subject = f"{field} =" if field else self.kind
        raise InputError(f"{subject} {one_line(repr(name_or_path))}: {self.unknown(name_or_path)}")

    def knows(self, name_or_path: str) -> bool:
        """Whether this is a name, or a path that is worth reading."""
        path = Path(name_or_path)
        return name_or_path in self.names or path.suffix == self.suffix or is_file(path)

    def unknown(self, name_or_path: str) -> str:
        """Text for a message about something that is not known: what it is not, and what is allowed instead."""
        allowed = unknown_name(name_or_path, [*self.names, *self.more])
        return f"no such preset or {self.suffix.removeprefix('.').upper()} file; {allowed}"

    def stamp(self, name_or_path: str) -> str:
        """Hash of a user's file and of the files that it names, which tells that what was remembered of it is stale.

        Empty for the package's own files, and for one that cannot be read: reading it will say why.
        """
        return "" if name_or_path in self.names else file_key(name_or_path)


def is_file(path: Path) -> bool:
    """Whether a path leads to a file; false for a path that no system allows."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # such as a name that is too long
        return False
