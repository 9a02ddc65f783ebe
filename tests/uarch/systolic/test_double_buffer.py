"""Stalls of double-buffered SRAMs against a cycle-by-cycle simulation, and how they follow bandwidth and size."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles.double_buffer import Operand, stalls
from uarch.systolic.cycles import Dataflow
from uarch.systolic.double_buffer import Port, Window, calculated_words_per_cycle, port, stall_cycles
from uarch.systolic.scalesim import run_layer
from uarch.systolic.scalesim_files import Config, Layer

WITHOUT_JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"
DRAWN_CASES = 100 if WITHOUT_JIT else 1_000
EDGE = 4
"""Words that the array uses per cycle at most."""


@st.composite
def _runs(draw: st.DrawFn) -> tuple[list[Operand], int, int]:
    row_folds, col_folds, fold_cycles = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(2, 12))
    folds = range(row_folds * col_folds)
    operands = []
    for is_output in (False, False, True):
        begin = draw(st.integers(0, fold_cycles - 1))
        n_cycles = draw(st.integers(1, fold_cycles - begin))
        by_tile = draw(st.lists(st.integers(1, EDGE * n_cycles), min_size=len(folds), max_size=len(folds)))
        sharing = draw(st.sampled_from(["rows", "cols", "none"])) if not is_output else "none"
        tiles = [{"rows": f % row_folds, "cols": f // row_folds, "none": f}[sharing] for f in folds]
        words = [by_tile[tile] for tile in tiles]
        if is_output and draw(st.booleans()):
            words = [count if f % row_folds == row_folds - 1 else 0 for f, count in enumerate(words)]
        half_words, bandwidth = draw(st.integers(2 * EDGE, 60)), draw(st.integers(1, 8))
        operands.append(Operand(words, tiles, begin, n_cycles, half_words, bandwidth, is_output))
    return operands, len(folds), fold_cycles


def _port(operand: Operand, fold_cycles: int) -> Port:
    window = Window(operand.begin_cycle, operand.n_cycles)
    words, tiles = np.array(operand.words), np.array(operand.tiles)
    size = 2 * operand.half_words
    return port(words, tiles, fold_cycles, window, size, operand.words_per_cycle, operand.is_output)


@settings(max_examples=DRAWN_CASES, deadline=None)
@given(_runs())
def test_stalls_equal_cycle_by_cycle_simulation(run: tuple[list[Operand], int, int]) -> None:
    operands, folds, fold_cycles = run
    assert stall_cycles(tuple(_port(one, fold_cycles) for one in operands)) == stalls(operands, folds, fold_cycles)


@settings(max_examples=100, deadline=None)
@given(_runs())
def test_calculated_bandwidth_is_the_least_that_suffices(run: tuple[list[Operand], int, int]) -> None:
    operands, folds, fold_cycles = run
    one = _port(operands[0], fold_cycles)
    least = calculated_words_per_cycle(one, folds * fold_cycles)
    assert stall_cycles((one._replace(words_per_cycle=least),)) == 0
    average = one.words.sum() / (folds * fold_cycles)
    assert least >= average
    if least - 1 >= average:
        assert stall_cycles((one._replace(words_per_cycle=least - 1),)) > 0


def _layer_stalls(dataflow: Dataflow, sram_words: int, bandwidth: int) -> int:
    config = Config(8, 8, dataflow, (sram_words,) * 3, (bandwidth,) * 3, False)
    return run_layer(config, Layer("x", 64, 96, 80)).stall_cycles


@pytest.mark.parametrize("dataflow", Dataflow)
def test_more_bandwidth_or_sram_never_stalls_longer(dataflow: Dataflow) -> None:
    by_bandwidth = [_layer_stalls(dataflow, 1024, bandwidth) for bandwidth in (1, 2, 4, 8, 16, 64)]
    assert by_bandwidth == sorted(by_bandwidth, reverse=True)
    assert by_bandwidth[0] > 0
    assert by_bandwidth[-1] == 0
    assert _layer_stalls(dataflow, 1 << 20, 1) == 0  # everything is there before the first cycle


def test_streaming_at_one_word_per_cycle_takes_a_cycle_per_word() -> None:
    """OS 64 x 64 x 64 on 8 x 8: A, 4096 words, is read again for each of 8 column folds; SRAMs of 2 x 512 words.

    The port has 32768 words to bring, of which the first 512 before the run: the array ends no earlier than the last
    half arrives, and uses that half's 512 words, 8 per cycle plus skew, in the cycles after.
    """
    config = Config(8, 8, Dataflow.OS, (1024,) * 3, (1, 1, 1), False)
    cycles = run_layer(config, Layer("x", 64, 64, 64)).cycles
    assert 32768 - 512 < cycles <= 32768 - 512 + 512 // 8 + 8 + 8
