"""``uarch systolic``: one GEMM on one array, and heat maps of utilisation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from uarch.commands.output import JsonOption, console, emit, table
from uarch.commands.sections import Section
from uarch.datatypes import MatrixDatatype
from uarch.errors import InputError, must_be

if TYPE_CHECKING:
    from uarch.systolic.cycles import SystolicArray
    from uarch.systolic.report import TileReport
    from uarch.systolic.sparsity import Structure

HEATMAP_SIZES = tuple(2**power for power in range(14))
"""M and N of a heat map over shapes, 1 to 8192."""
HEATMAP_EDGES = tuple(2**power for power in range(2, 10))
"""Rows and columns of a heat map over arrays, 4 to 512."""
LARGEST_SIZE = 1 << 24
MOST_MACS = 1 << 53
"""Most MACs of one GEMM, up to which all counts and sizes in bits are integers of 64 bits."""


DataflowOption = Annotated[Literal["os", "ws", "is"], typer.Option(help="What stays in the PEs.")]
OverlapOption = Annotated[
    Literal["none", "full"],
    typer.Option(help="none: each fold pays fill and drain (SCALE-Sim). full: folds go back to back."),
]
FeedOption = Annotated[Literal["skewed", "broadcast"], typer.Option(help="How operands reach the PEs.")]
DrainOption = Annotated[
    Literal["direct", "shift"], typer.Option(help="How OS results leave: from each PE, or down the column.")
]
DtypeOption = Annotated[MatrixDatatype, typer.Option(help="Datatype of the operands.")]
RateOption = Annotated[
    str | None, typer.Option(metavar="RATE", help="MACs of a PE per cycle, e.g. 2 or 1/4; default: by dtype.")
]
AccumulatorOption = Annotated[
    int | None, typer.Option(help="Sums that fit below each column (ws, is); default: all of them.")
]
LayoutOption = Annotated[Literal["plain", "padded", "swizzled"], typer.Option(help="How A and B lie in L1.")]
HeatmapOption = Annotated[
    Path | None, typer.Option(metavar="PNG", help="Also draw utilisation as a heat map (PNG, SVG or PDF).")
]
HeatmapAxesOption = Annotated[
    Literal["shapes", "arrays"], typer.Option(help="Axes: M and N at this K, or rows and columns.")
]

SECTION = Section.PARTS


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(systolic)


def systolic(
    rows: Annotated[int, typer.Option("--rows", help="PE rows.")],
    cols: Annotated[int, typer.Option("--cols", help="PE columns.")],
    m: Annotated[int, typer.Option("-m", "-M", help="Rows of A and C.")],
    n: Annotated[int, typer.Option("-n", "-N", help="Columns of B and C.")],
    k: Annotated[int, typer.Option("-k", "-K", help="Columns of A, rows of B.")],
    dataflow: DataflowOption = "ws",
    overlap: OverlapOption = "full",
    mac_stages: Annotated[int, typer.Option(help="Pipeline stages of a MAC.")] = 1,
    feed: FeedOption = "skewed",
    drain: DrainOption = "direct",
    dtype: DtypeOption = "fp16",
    macs_per_pe_cycle: RateOption = None,
    accumulator_rows: AccumulatorOption = None,
    sparsity: Annotated[str, typer.Option(metavar="N:M", help="Weights kept of each group along K.")] = "1:1",
    banks: Annotated[int | None, typer.Option(help="L1 banks: adds bank conflicts to the result.")] = None,
    bank_bytes: Annotated[int, typer.Option(help="Bytes of an L1 bank's word.")] = 4,
    layout: LayoutOption = "plain",
    heatmap: HeatmapOption = None,
    heatmap_over: HeatmapAxesOption = "shapes",
    as_json: JsonOption = False,
) -> None:
    """Cycles, utilisation and L1 traffic of one GEMM on a systolic array."""
    from uarch.datatypes import datatype
    from uarch.systolic.cycles import UNBOUNDED, Dataflow, Drain, Feed, Overlap, SystolicArray
    from uarch.systolic.report import report, step_of_rate
    from uarch.systolic.sparsity import parse_structure

    k_per_step, cycles_per_step = step_of_rate(_rate(macs_per_pe_cycle, dtype))
    array = SystolicArray(
        dataflow=int(Dataflow[dataflow.upper()]),
        rows=rows,
        cols=cols,
        overlap=int(Overlap[overlap.upper()]),
        mac_stages=mac_stages,
        feed=int(Feed[feed.upper()]),
        drain=int(Drain[drain.upper()]),
        k_per_step=k_per_step,
        cycles_per_step=cycles_per_step,
        accumulator_rows=UNBOUNDED if accumulator_rows is None else accumulator_rows,
    )
    structure = parse_structure(sparsity, "sparsity")
    sizes = {"rows": rows, "cols": cols, "m": m, "n": n, "k": k, "mac_stages": mac_stages}
    options = {"macs_per_pe_cycle": max(k_per_step, cycles_per_step), "sparsity": structure.group}
    _check_sizes(sizes | options | ({} if accumulator_rows is None else {"accumulator_rows": accumulator_rows}))
    result = report(array, m, n, k, structure, datatype(dtype).bits)
    payload: dict[str, Any] = {"dataflow": dataflow, "rows": rows, "cols": cols, "m": m, "n": n, "k": k}
    payload |= {"overlap": overlap} | _payload(result, k, n, structure, datatype(dtype).bits)
    if banks is not None:
        payload["l1_bank_conflict_cycles"] = _conflicts(
            array, (m, n, k), (banks, bank_bytes), layout, datatype(dtype).bits // 8
        )
    if heatmap is not None:
        _draw(array, (m, n, k), structure, heatmap_over, heatmap)
        payload["heatmap"] = str(heatmap)
    emit(payload, as_json, lambda: _render(payload))


def _check_sizes(sizes: dict[str, int]) -> None:
    """Refuse what would not fit into counters; sizes that are too small are refused by the model."""
    for name, value in sizes.items():
        if value > LARGEST_SIZE:
            raise must_be(name, value, f"at most {LARGEST_SIZE}")
    macs = sizes["m"] * sizes["n"] * sizes["k"]
    if macs > MOST_MACS:
        raise InputError(f"m x n x k = {macs} MACs: must be at most {MOST_MACS}")


def _rate(text: str | None, dtype: str) -> Any:
    from fractions import Fraction

    from uarch.datatypes import datatype

    if text is None:
        return datatype(dtype).rate
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise must_be("macs_per_pe_cycle", text, "a number or a fraction, such as 2 or 1/4") from error


def _payload(result: TileReport, k: int, n: int, structure: Structure, element_bits: int) -> dict[str, Any]:
    from uarch.systolic.sparsity import structured_bytes

    traffic = result.traffic
    reads = {"a": traffic.a_reads, "b": traffic.b_reads, "partial": traffic.partial_reads}
    writes = {"partial": traffic.partial_writes, "output": traffic.output_writes}
    return {
        "cycles": result.cycles,
        "last_cycle_index": result.last_cycle_index,
        "folds": result.folds,
        "utilization": result.utilization,
        "pe_utilization": result.pe_utilization,
        "mapping_efficiency": result.mapping_efficiency,
        "macs": result.macs,
        "sram_reads": sum(reads.values()),
        "sram_writes": sum(writes.values()),
        "sram_reads_by_operand": reads,
        "sram_writes_by_operand": writes,
        "sram_read_bytes": result.l1_read_bytes,
        "sram_write_bytes": result.l1_write_bytes,
        "weight_bytes": structured_bytes(k, n, structure, element_bits),
    }


def _conflicts(
    array: SystolicArray, shape: tuple[int, int, int], banks: tuple[int, int], layout: str, element_bytes: int
) -> dict[str, int]:
    """Cycles lost while each operand is read once, all folds along its vectors included."""
    from uarch.systolic.bank_conflicts import Layout, Scratchpad, check_scratchpad, operand_vectors, read_cycles
    from uarch.systolic.cycles import Dataflow

    pad, chosen = Scratchpad(*banks), Layout[layout.upper()]
    check_scratchpad(pad, chosen, element_bytes)
    lost = {}
    for name, vectors in zip(
        "ab", operand_vectors(Dataflow(array.dataflow), array.rows, array.cols, *shape), strict=True
    ):
        cycles, count = read_cycles(pad, int(chosen), vectors, element_bytes)
        lost[name] = int(cycles - count)
    return lost


def _draw(array: SystolicArray, shape: tuple[int, int, int], structure: Structure, over: str, target: Path) -> None:
    """Raises ``OSError`` if the file cannot be written."""
    import numpy as np

    from results.plots.of_arrays.heatmap import plot
    from results.plots.style import PlotError, file_format, save
    from uarch.systolic.cycles import Dataflow, Overlap
    from uarch.systolic.report import utilization_over_arrays, utilization_over_shapes
    from uarch.systolic.sparsity import kept_k

    try:
        file_format(target)
    except PlotError as error:
        raise InputError(f"--heatmap {error}") from error
    m, n, k = shape
    kept = int(kept_k(k, *structure))
    inner = f"K = {k}" if kept == k else f"K = {k} ({structure.kept}:{structure.group} weights)"
    setting = f"{Dataflow(array.dataflow).name}, overlap {Overlap(array.overlap).name.lower()}"
    sizes, edges = np.array(HEATMAP_SIZES), np.array(HEATMAP_EDGES)
    if over == "shapes":
        made = plot(
            utilization_over_shapes(array, sizes, sizes, kept),
            ("M (prefill: tokens of the prompt; decode: sequences in the batch)", HEATMAP_SIZES),
            ("N", HEATMAP_SIZES),
            f"Utilisation of a {array.rows} x {array.cols} array",
            f"{inner}, {setting}",
        )
    else:
        made = plot(
            utilization_over_arrays(array, edges, edges, (m, n, kept)),
            ("array rows", HEATMAP_EDGES),
            ("array columns", HEATMAP_EDGES),
            f"Utilisation by M = {m}, N = {n}, {inner}",
            setting,
        )
    save(made, target)


def _render(payload: dict[str, Any]) -> None:
    title = "GEMM {m} x {n} x {k} on a {rows} x {cols} array, {dataflow}, overlap {overlap}".format(**payload)
    percentages = ("utilization", "pe_utilization", "mapping_efficiency")
    shown = []
    for key, value in list(payload.items())[7:]:
        if isinstance(value, dict):
            text = ", ".join(f"{name} {count:,}" for name, count in value.items())
        elif key in percentages:
            text = f"{100 * value:.2f} %"
        else:
            text = f"{value:,}" if isinstance(value, int) else str(value)
        shown.append((key.replace("_", " "), text))
    console().print(table(title, ("", ""), shown))
