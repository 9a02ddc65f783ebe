"""What a reader of the READMEs is told to type, found in their code blocks."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGES = ("uarch", "kernels", "workloads", "results")
READMES = [
    ROOT / "README.md",
    *sorted(path for name in (*PACKAGES, "tests") for path in (ROOT / name).rglob("README.md")),
]
_FILE = re.compile(r"(?<![\w./:-])[\w-]+\.(?:h5|toml|json|ya?ml|csv|parquet|html|png|svg|pdf|txt|cfg)(?![\w/])")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)


class Example(NamedTuple):
    """A command line or a program, and the examples before it whose files it reads."""

    place: str
    """File and line, such as ``README.md:29``."""
    language: str
    text: str
    needs: tuple[Example, ...]
    group: str
    """Place of the first example of those that share files."""


class _Piece(NamedTuple):
    line: int
    language: str
    text: str


def _pieces(text: str) -> Iterator[_Piece]:
    """Programs and command lines of a README; a line that ends in a backslash goes on in the next."""
    for block in _BLOCK.finditer(text):
        first = text.count("\n", 0, block.start(2)) + 1
        if block[1] != "sh":
            yield _Piece(first, block[1], block[2])
            continue
        line = first
        for command in re.findall(r"(?:.*\\\n)*.*\n", block[2]):
            code = re.sub(r"(^|\s)#.*", "", command.replace("\\\n", " ")).strip()
            if code:
                yield _Piece(line, "sh", code)
            line += command.count("\n")


def _written(piece: _Piece) -> set[str]:
    """Files that a piece makes."""
    if piece.language != "sh":
        return set(_FILE.findall(piece.text))
    words = shlex.split(piece.text)
    made = {after for word, after in itertools.pairwise(words) if word in ("-o", "--output")}
    return made | ({words[-1]} if words[0] == "cp" else set())


def _examples(path: Path) -> Iterator[Example]:
    made_by: dict[str, Example] = {}
    for piece in _pieces(path.read_text(encoding="utf-8")):
        place = f"{path.relative_to(ROOT).as_posix()}:{piece.line}"
        written = _written(piece)
        read = set(_FILE.findall(piece.text)) - (written if piece.language == "sh" else set())
        needs = tuple({made_by[name].place: made_by[name] for name in sorted(read & made_by.keys())}.values())
        example = Example(place, piece.language, piece.text, needs, needs[0].group if needs else place)
        made_by |= dict.fromkeys(written, example)
        yield example


EXAMPLES = [example for path in READMES for example in _examples(path)]
