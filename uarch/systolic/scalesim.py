"""SCALE-Sim's run of a network: the compute report of each layer, from the array model without overlap.

Cycles, utilisation and mapping efficiency follow SCALE-Sim's definitions, so that its numbers are reproduced: a layer's
cycles are the index of its last cycle, counted from 0, plus stalls; utilisation counts the operator's MACs, those that
N:M sparsity skips included. Where SCALE-Sim 3.0.0 is wrong it is not followed: only finished outputs go to memory,
compute utilisation divides by the cycles of a fold, and stalls come from :mod:`uarch.systolic.double_buffer`. As there, a
convolution's operand is its im2col matrix.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from uarch.systolic.cycles import Dataflow, Overlap, SystolicArray, fold_count, mapping, tile_cycles
from uarch.systolic.double_buffer import Integers, Port, Window, calculated_words_per_cycle, port, stall_cycles
from uarch.systolic.scalesim_files import Config, Layer
from uarch.systolic.sparsity import kept_k

COMPUTE_REPORT_HEADER = (
    "LayerID, Total Cycles (incl. prefetch), Total Cycles, Stall Cycles,"
    " Overall Util %, Mapping Efficiency %, Compute Util %,"
)


class LayerReport(NamedTuple):
    """Line of the compute report for one layer; percentages are computed as SCALE-Sim does, to equal the last digit."""

    layer: Layer
    folds: int
    cycles: int
    """Index of the last cycle, stalls included: SCALE-Sim's "Total Cycles"."""
    stall_cycles: int
    transfer_cycles: int
    """``cycles``, the first fetch of operands and the last drain of outputs."""
    utilization_percent: float
    mapping_efficiency_percent: float
    compute_utilization_percent: float
    """Share of PE cycles with a MAC while the array is not stalled."""
    words_per_cycle: tuple[int, int, int]
    """Bandwidth of the ifmap, filter and ofmap port: as configured, or in CALC mode the least that suffices."""


def run_layer(config: Config, layer: Layer) -> LayerReport:
    """Run one layer on the configured array."""
    array = SystolicArray(int(config.dataflow), config.rows, config.cols, overlap=int(Overlap.NONE))
    k = int(kept_k(layer.k, layer.sparsity.kept, layer.sparsity.group))
    on_rows, on_cols, stream = mapping(array.dataflow, layer.m, layer.n, k)
    folds = int(fold_count(array, layer.m, layer.n, k))
    compute = int(tile_cycles(array, layer.m, layer.n, k))
    ports = _ports(config, layer.m, layer.n, k, compute // folds)
    stall = stall_cycles(ports) if config.words_per_cycle else 0
    pes = array.rows * array.cols
    cycles = compute - 1 + stall
    mapped = on_rows * on_cols / (folds * pes)
    return LayerReport(
        layer=layer,
        folds=folds,
        cycles=cycles,
        stall_cycles=stall,
        transfer_cycles=max(ports[0].initial_cycles, ports[1].initial_cycles) + cycles + ports[2].final_cycles,
        utilization_percent=100 * layer.m * layer.n * layer.k / (max(1, cycles) * pes),
        mapping_efficiency_percent=100 * mapped,
        compute_utilization_percent=100 * mapped * stream * folds / compute,
        words_per_cycle=(ports[0].words_per_cycle, ports[1].words_per_cycle, ports[2].words_per_cycle),
    )


def compute_report(reports: Iterable[LayerReport]) -> str:
    """Text of ``COMPUTE_REPORT.csv`` with SCALE-Sim's columns; percentages are not rounded."""
    lines = [COMPUTE_REPORT_HEADER]
    for number, report in enumerate(reports):
        cycles = (report.transfer_cycles, report.cycles, report.stall_cycles)
        percentages = (
            report.utilization_percent,
            report.mapping_efficiency_percent,
            report.compute_utilization_percent,
        )
        items = (number, *cycles, *percentages)
        lines.append(", ".join(str(item) for item in items) + ",")
    return "\n".join(lines) + "\n"


def _ports(config: Config, m: int, n: int, k: int, fold_cycles: int) -> tuple[Port, Port, Port]:
    """Ports of ifmap (A), filter (B) and ofmap; column folds are outermost."""
    on_rows, on_cols, stream = mapping(int(config.dataflow), m, n, k)
    row_extent, row_fold = _extents(on_rows, config.rows)
    col_extent, col_fold = _extents(on_cols, config.cols)
    row_fold, col_fold = np.tile(row_fold, col_fold.size), np.repeat(col_fold, row_fold.size)
    rows, cols = row_extent[row_fold], col_extent[col_fold]
    load = 0 if config.dataflow == Dataflow.OS else config.rows
    by_row = (rows * stream, row_fold, Window(load, stream + config.rows - 1))
    if config.dataflow == Dataflow.OS:
        by_col = (cols * stream, col_fold, Window(0, stream + config.cols - 1))
        first_output = stream - 1
        outputs = rows * cols
    else:
        by_col = (rows * cols, np.arange(rows.size), Window(0, config.rows))
        first_output = 2 * config.rows - 1
        outputs = np.where(row_fold == row_fold.max(), stream * cols, 0)
    produced = (outputs, np.arange(rows.size), Window(first_output, fold_cycles - first_output))
    a, b = (by_col, by_row) if config.dataflow == Dataflow.IS else (by_row, by_col)
    made = []
    for index, (words, tile, window) in enumerate((a, b, produced)):
        sram_words = config.sram_words[index]
        bandwidth = config.words_per_cycle[index] if config.words_per_cycle else 1
        one = port(words, tile, fold_cycles, window, sram_words, bandwidth, output=index == 2)
        if not config.words_per_cycle:
            one = one._replace(words_per_cycle=calculated_words_per_cycle(one, fold_cycles * rows.size))
        made.append(one)
    return made[0], made[1], made[2]


def _extents(size: int, edge: int) -> tuple[Integers, Integers]:
    """Used PEs of each fold along one edge of the array, and the folds' numbers."""
    starts = np.arange(0, size, edge)
    return np.minimum(edge, size - starts), np.arange(starts.size)
