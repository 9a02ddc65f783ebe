"""What all commands share: the ``--json`` and ``--set`` options, and where results go.

Results go to standard output: with ``--json`` exactly one JSON object and nothing else, otherwise text for people.
Progress and messages go to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uarch.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object, with units in its keys.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="Change a field of the chip, e.g. memory.channels=80. Repeatable."
    ),
]

_PIPE_COLUMNS = 160


def emit(payload: Mapping[str, Any], as_json: bool, render: Callable[[], None]) -> None:
    """Print ``payload`` as one JSON object if ``as_json``, otherwise call ``render``, which prints text.

    NumPy scalars and arrays become numbers and lists. A NaN or an infinity is a defect and raises ``ValueError``.
    """
    if as_json:
        typer.echo(json.dumps(payload, indent=2, allow_nan=False, default=_plain))
    else:
        render()


def console() -> Console:
    """Console on standard output; wide enough for tables if that is a file or a pipe."""
    from rich.console import Console

    terminal = Console(highlight=False, markup=False)
    if not sys.stdout.isatty():
        terminal.width = max(terminal.width, _PIPE_COLUMNS)
    return terminal


def table(
    title: str, columns: Iterable[str], rows: Iterable[Iterable[str]], left: int = 1, wrapping: str = ""
) -> Table:
    """A table whose first ``left`` columns are left-aligned and whose others, numbers, are right-aligned.

    If one column is named as ``wrapping``, it alone gives way where the terminal is narrow.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    narrow: dict[str, Any] = {"box": box.SIMPLE_HEAD, "collapse_padding": True, "pad_edge": False}
    widest = max(map(len, title.splitlines()), default=0)  # a title is wrapped to the table's width
    result = Table(title=Text(title, style="bold"), title_justify="left", min_width=widest, **narrow)
    for index, column in enumerate(columns):
        fixed = bool(wrapping) and column != wrapping
        result.add_column(Text(column), justify="left" if index < left else "right", no_wrap=fixed)
    for row in rows:
        result.add_row(*(Text(cell) for cell in row))
    return result


def percent(fraction: float) -> str:
    """``percent(0.5609)`` is ``56.1 %``."""
    return f"{100 * fraction:.1f} %"


def uses(fractions: Mapping[str, float]) -> str:
    """How busy resources are, the busiest first, those below 1 % left out: ``dram 89 %, l2 12 %``."""
    ordered = sorted(fractions.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {percent(fraction)}" for name, fraction in ordered if fraction >= 0.01) or "none"


def shares(parts: Mapping[str, float]) -> str:
    """Parts of at least 1 % of their sum, the largest first: ``matrix 69 %, l2 noc 27 %``."""
    total = sum(parts.values())
    ranked = sorted(parts.items(), key=lambda part: -part[1])
    return ", ".join(
        f"{name.replace('_', ' ')} {100 * value / total:.0f} %" for name, value in ranked if value >= total / 100 > 0
    )


def make_folder(path: Path) -> None:
    """Make the folder that ``--output`` names; :class:`InputError` if nothing can be written there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {path}: must be a folder, or a place to make one: {error.strerror}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise InputError(f"--output {path}: no permission to write into this folder")


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[..., None]]:
    """A bar on standard error while the body runs, with the time it has taken and will take; nothing if that is no terminal.

    The body gets a function to call with what is being done, how many of ``total`` parts are done, and if it has changed how
    many there are.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    terminal = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as bar:
        task = bar.add_task("", total=total)
        yield lambda doing, done, of=None: bar.update(task, description=doing, completed=done, total=of)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"not JSON: {value!r}")
