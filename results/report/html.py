"""Self-contained HTML pages: the page around a body, and the tables and figures in it. Nothing is fetched from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from results.report.figures import inline_svg

_FOLDER = Path(__file__).parent
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""Content security policy of every page: the browser loads nothing that is not in it."""


class Markup(str):
    """Text that is HTML already, and stands in a table as it is."""

    __slots__ = ()


class Cell(NamedTuple):
    """What a cell of a sortable table shows, and the value by which its column is sorted."""

    shown: str | Markup
    value: float | str


def text_cell(text: str) -> Cell:
    """Make a cell that shows a text and is sorted by it."""
    return Cell(text, text)


def percent_cell(fraction: float) -> Cell:
    """Make a cell that shows a fraction as a percentage with one decimal."""
    return Cell(f"{100 * fraction:.1f} %", fraction)


def html_page(title: str, body: Iterable[str]) -> str:
    """Put the parts of ``body``, HTML each, into a page with the style and the script of all pages; ``title`` is text."""
    style, script = ((_FOLDER / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        "<meta name='viewport' content='width=device-width'><link rel='icon' href='data:,'>"
        f"<title>{escape(title)}</title><style>{style}</style></head>\n<body><main>{''.join(body)}</main>"
        f"<script>{script}</script></body></html>\n"
    )


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Make a table of two columns: name and value."""
    lines = (f"<tr><th scope='row'>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    return f"<table class='facts'>{''.join(lines)}</table>"


def sortable(columns: Sequence[str], rows: Iterable[Sequence[Cell]], caption: str) -> str:
    """Make a table whose headers sort it when they are clicked; columns of numbers are aligned to the right."""
    heads = "".join(f"<th scope='col'><button type='button'>{escape(name)}</button></th>" for name in columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return (
        f"<table class='sortable'><caption>{escape(caption)}</caption><thead><tr>{heads}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def _cell(cell: Cell) -> str:
    shown = cell.shown if isinstance(cell.shown, Markup) else escape(cell.shown)
    if isinstance(cell.value, str):
        return f"<td>{shown}</td>"
    return f"<td class='number' data-value='{cell.value!r}'>{shown}</td>"


def figure(fig: Figure, title: str, number: int) -> str:
    """Embed a figure; ``number`` is its own on the page, ``title`` describes it where pictures cannot be seen."""
    return f"<figure>{inline_svg(fig, number, escape(title, quote=True))}</figure>"


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the fields of nested tables by their dotted names, as rows of :func:`facts`."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            yield prefix + name, ", ".join(map(str, value))
        else:
            yield prefix + name, f"{value:.6g}" if isinstance(value, float) else str(value)
