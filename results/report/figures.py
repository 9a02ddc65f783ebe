"""Figures as SVG inside a page."""

from __future__ import annotations

import io
import re

from matplotlib.figure import Figure

from results.plots.style import svg_bytes


def inline_svg(fig: Figure, number: int, description: str) -> str:
    """A figure as an ``<svg>`` element whose identifiers are its own among all figures of the page.

    ``description`` stands for it where pictures cannot be seen.
    """
    buffer = io.BytesIO()
    svg_bytes(fig, buffer)
    svg = buffer.getvalue().decode("utf-8")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="figure{number}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#figure{number}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#figure{number}-\1)", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{description}" ', 1).strip()
