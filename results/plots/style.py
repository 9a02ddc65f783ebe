"""The one look of all plots: sizes, colours, labels, and how a figure becomes a file.

Colours can be told apart with every common kind of colour blindness and mean the same in every plot. Components of the
chip, in stall causes and energy, have the colours of Okabe and Ito (https://jfly.uni-koeln.de/color/): blues are
arithmetic, warm colours memory, greys waiting. Op kinds have those of Paul Tol (https://sronpersonalpages.nl/~pault/,
schemes muted and light), so that no colour means both a component and an op.

A plot function is decorated with :func:`styled`, starts from :func:`figure` and returns the figure; :func:`save` writes
it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from uarch.files.writing import write_output

P = ParamSpec("P")
R = TypeVar("R")

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
DARK_GREY, GREY, LIGHT_GREY = "#5F5F5F", "#9A9A9A", "#DCDCDC"

CAUSE_COLOURS = {
    "matrix": BLUE,
    "vector": SKY,
    "l1": YELLOW,
    "l2_noc": ORANGE,
    "dram": VERMILLION,
    "link": PURPLE,
    "dependency": GREEN,
    "launch": GREY,
    "idle": LIGHT_GREY,
}
CAUSE_LABELS = {
    "matrix": "matrix units busy",
    "vector": "vector units busy",
    "l1": "wait for L1",
    "l2_noc": "wait for L2 / NoC",
    "dram": "wait for DRAM",
    "link": "wait for link",
    "dependency": "wait for other blocks",
    "launch": "kernel launch",
    "idle": "no block left",
}

ENERGY_COLOURS = {
    "matrix": BLUE,
    "vector": SKY,
    "l1": YELLOW,
    "l2": ORANGE,
    "noc": GREEN,
    "dram": VERMILLION,
    "link": PURPLE,
    "static": LIGHT_GREY,
}
ENERGY_LABELS = {
    "matrix": "matrix units",
    "vector": "vector units",
    "l1": "L1",
    "l2": "L2",
    "noc": "NoC",
    "dram": "DRAM",
    "link": "link",
    "static": "static",
}

KIND_COLOURS = {
    "gemm": "#332288",
    "attention": "#CC6677",
    "softmax": "#DDCC77",
    "norm": "#88CCEE",
    "activation": "#117733",
    "rope": "#999933",
    "residual": "#BBBBBB",
    "embedding": "#777777",
    "lm_head": "#44AA99",
    "all_reduce": "#AA4499",
}
_OTHER_KINDS = ("#882255", "#4477AA", "#EE8866", "#BBCC33", "#99DDFF", "#FFAABB", "#222222")

FORMATS = {".png": "png", ".svg": "svg", ".pdf": "pdf"}
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""Neither the time nor the versions of the libraries are written: equal figures give equal files."""

STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": DARK_GREY,
    "axes.grid": False,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "figure.dpi": 150,
    "figure.titlesize": 11,
    "figure.titleweight": "bold",
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters everywhere
    "font.size": 9,
    "grid.color": LIGHT_GREY,
    "grid.linewidth": 0.6,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.handlelength": 1.2,
    "legend.title_fontsize": 8.5,
    "pdf.fonttype": 42,
    "savefig.dpi": 150,
    "svg.hashsalt": "uarch",
    "xtick.labelsize": 8.5,
    "xtick.color": DARK_GREY,
    "xtick.labelcolor": BLACK,
    "ytick.labelsize": 8.5,
    "ytick.color": DARK_GREY,
    "ytick.labelcolor": BLACK,
}


def _settings() -> Any:
    """Matplotlib's defaults (not the user's own settings) under the common style; the backend is no matter of style."""
    return {name: value for name, value in mpl.rcParamsDefault.items() if name != "backend"} | STYLE


class PlotError(ValueError):
    """A plot that cannot be made as asked for: the message is one line."""


def styled(plot: Callable[P, R]) -> Callable[P, R]:
    """Run a plot function in the common style, and leave matplotlib's settings as they were."""

    @wraps(plot)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(_settings()):
            return plot(*args, **kwargs)

    return run


@styled
def figure(width: float, height: float) -> Figure:
    """An empty figure of the given size in inches (150 dots each in a PNG), laid out when it is saved."""
    made = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(made)
    return made


def file_format(path: str | Path) -> str:
    """Format that the ending of a path asks for.

    Raises:
        PlotError: another ending than .png, .svg or .pdf.
    """
    ending = Path(path).suffix.lower()
    if ending not in FORMATS:
        raise PlotError(f"{path}: unknown ending {ending!r}, allowed: {', '.join(FORMATS)}")
    return FORMATS[ending]


@styled
def save(fig: Figure, path: str | Path) -> None:
    """Write a figure as PNG, SVG or PDF, completely or not at all; equal figures give equal bytes.

    Parameters
    ----------
    fig
        The figure.
    path
        Path of the file; its ending says which format.

    Raises
    ------
    PlotError
        For another ending.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import uarch
    >>> trace = uarch.simulate("h100", "llama-3-8b", "decode", batch=8, seq=1024, fidelity="analytical")
    >>> uarch.save(uarch.plot(trace, "layers"), "layers.png")
    """
    kind = file_format(path)
    buffer = io.BytesIO()
    fig.savefig(buffer, format=kind, metadata=_METADATA[kind])
    write_output(Path(path), buffer.getvalue())


@styled
def svg_bytes(fig: Figure, buffer: io.BytesIO) -> None:
    """Write a figure as SVG into ``buffer``; equal figures give equal bytes."""
    fig.savefig(buffer, format="svg", metadata=_METADATA["svg"])


def kind_colours(kinds: Iterable[str]) -> dict[str, str]:
    """Op kind -> colour, in the order given; kinds without a colour of their own get one in alphabetical order."""
    wanted = list(dict.fromkeys(kinds))
    others = sorted(kind for kind in wanted if kind not in KIND_COLOURS)
    spare = {kind: _OTHER_KINDS[index % len(_OTHER_KINDS)] for index, kind in enumerate(others)}
    return {kind: KIND_COLOURS.get(kind) or spare[kind] for kind in wanted}


def line_colours(count: int) -> list[str]:
    """Colours for ``count`` lines that stand for nothing else; after the eighth they repeat."""
    colours = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK, DARK_GREY)
    return [colours[index % len(colours)] for index in range(count)]


def label(name: str) -> str:
    """A field-like name as text: underscores are spaces."""
    return name.replace("_", " ")


def on_colour(colour: str) -> str:
    """Black or white, whichever is legible on ``colour`` (relative luminance of ITU-R BT.709)."""
    red, green, blue = mpl.colors.to_rgb(colour)
    return "white" if 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.5 else "black"


def boxes(colours: Mapping[str, str], labels: Mapping[str, str] | None = None) -> list[Patch]:
    """Coloured boxes for a legend; a name without a label stands for itself."""
    return [Patch(facecolor=colour, label=(labels or {}).get(name, label(name))) for name, colour in colours.items()]


def legend_beside(ax: Axes, handles: Sequence[Artist], title: str, columns: int = 1) -> None:
    """A legend at the right of the axes."""
    ax.legend(
        handles=handles,
        title=title,
        ncols=columns,
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0.0,
        alignment="left",
    )
