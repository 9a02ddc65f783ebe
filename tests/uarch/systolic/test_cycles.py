"""The array model against the register-transfer simulation of the PE grid: cycles, numbers and accesses are equal."""

from __future__ import annotations

import inspect
import os
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import uarch.systolic.cycles
from tests.oracles.pe_grid import HazardError, dense_operands, run_grid
from tests.support.systolic_cases import (
    ACCUMULATOR_ROWS,
    EDGES,
    SIZES,
    Case,
    disagreements,
    first_disagreement,
    random_cases,
)
from uarch.systolic.cycles import (
    Dataflow,
    Drain,
    Feed,
    Overlap,
    SystolicArray,
    busy_cycles,
    fill_drain_cycles,
    mapping,
    operand_traffic,
)

WITHOUT_JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"
RANDOM_CASES = 1_000 if WITHOUT_JIT else 10_000
DRAWN_CASES = 100 if WITHOUT_JIT else 1_000

edges = st.integers(*EDGES)
sizes = st.integers(*SIZES)
arrays = st.builds(
    SystolicArray,
    dataflow=st.sampled_from([int(code) for code in Dataflow]),
    rows=edges,
    cols=edges,
    overlap=st.sampled_from([int(code) for code in Overlap]),
    mac_stages=st.integers(1, 3),
    feed=st.sampled_from([int(code) for code in Feed]),
    drain=st.sampled_from([int(code) for code in Drain]),
    k_per_step=st.integers(1, 3),
    cycles_per_step=st.integers(1, 4),
    accumulator_rows=st.sampled_from(ACCUMULATOR_ROWS),
)
cases = st.builds(Case, array=arrays, m=sizes, n=sizes, k=sizes, seed=st.integers(0, 1000))


def test_model_equals_grid_on_many_random_shapes() -> None:
    assert first_disagreement(random_cases(RANDOM_CASES, seed=3), uarch.systolic.cycles) is None


@settings(max_examples=DRAWN_CASES, deadline=None)
@given(cases)
def test_model_equals_grid_on_drawn_shapes(case: Case) -> None:
    assert disagreements(case, uarch.systolic.cycles) == []


@settings(max_examples=DRAWN_CASES, deadline=None)
@given(
    dataflow=st.sampled_from(list(Dataflow)),
    rows=edges,
    cols=edges,
    stages=st.integers(1, 3),
    m=sizes,
    n=sizes,
    k=sizes,
)
def test_what_the_engine_uses_equals_grid(
    dataflow: Dataflow, rows: int, cols: int, stages: int, m: int, n: int, k: int
) -> None:
    array = SystolicArray(int(dataflow), rows, cols, mac_stages=stages)
    rng = np.random.default_rng(m * n * k)
    grid = run_grid(array, *dense_operands(rng.integers(-9, 10, (m, k)), rng.integers(-9, 10, (k, n))))
    stream = mapping(int(dataflow), m, n, k)[2]
    cycles = busy_cycles(int(dataflow), rows, cols, m, n, k) + fill_drain_cycles(
        int(dataflow), rows, cols, stages, stream
    )
    assert cycles == grid.cycles
    assert operand_traffic(int(dataflow), rows, cols, m, n, k) == (grid.a_reads, grid.b_reads, 0, grid.output_writes)


@settings(max_examples=DRAWN_CASES, deadline=None)
@given(
    dataflow=st.sampled_from(list(Dataflow)), rows=edges, cols=edges, m=sizes, n=sizes, k=sizes, tiles=st.integers(1, 4)
)
def test_back_to_back_tiles_pay_fill_and_drain_once(
    dataflow: Dataflow, rows: int, cols: int, m: int, n: int, k: int, tiles: int
) -> None:
    """A sequence of equal tiles is a longer run of the grid: more column folds, none of them partial."""
    code = int(dataflow)
    m, n = (cols, n) if dataflow == Dataflow.IS else (m, cols)
    whole = (tiles * m, n, k) if dataflow == Dataflow.IS else (m, tiles * n, k)
    rng = np.random.default_rng(m * n * k)
    operands = dense_operands(rng.integers(-9, 10, (whole[0], k)), rng.integers(-9, 10, (k, whole[1])))
    grid = run_grid(SystolicArray(code, rows, cols), *operands)
    busy = tiles * busy_cycles(code, rows, cols, m, n, k)
    assert busy + fill_drain_cycles(code, rows, cols, 1, mapping(code, m, n, k)[2]) == grid.cycles


FAULTS = {
    "latency is one too long": ("skew = rows + cols - 2", "skew = rows + cols - 1"),
    "latency is one too short": ("skew = rows + cols - 2", "skew = rows + cols - 3"),
    "drain of the last column is forgotten": ("skew = rows + cols - 2", "skew = rows - 1"),
    "broadcast feed is taken as skewed": ("if feed == BROADCAST:", "if feed > BROADCAST:"),
    "broadcast sums move down at once": ("0 if dataflow == OS else rows - 1", "0"),
    "MAC pipeline has a stage too many": ("return skew + mac_stages - 1", "return skew + mac_stages"),
    "first load is free": ("return chain + (folds - 1)", "return (folds - 1)"),
    "last fold streams nothing": ("interval + stream + latency", "interval + latency"),
    "folds overlap their load with nothing": ("max(stream, chain) if overlap", "stream + chain if overlap"),
    "load is hidden completely": ("max(stream, chain) if overlap", "stream if overlap"),
    "folds overlap although they must not": ("else chain + stream + latency", "else stream"),
    "one fold too many": ("// denominator", "// denominator + 1"),
    "partial folds are dropped": ("(numerator + denominator - 1)", "numerator"),
    "m and n are swapped in OS": ("return m, n, k", "return n, m, k"),
    "m and k are swapped in WS": ("return k, n, m", "return m, n, k"),
    "m and n are swapped in IS": ("return k, m, n", "return k, n, m"),
    "OS results leave for nothing": ("if dataflow == OS and drain != SHIFT:", "if dataflow == OS:"),
    "A is read once in OS": ("m * k * ceil_div(n, cols), k * n * ceil_div", "m * k, k * n * ceil_div"),
    "edges are swapped for B in OS": ("k * n * ceil_div(m, rows)", "k * n * ceil_div(m, cols)"),
    "weights are read for each m in WS": ("return m * k * ceil_div(n, cols), k * n, 0", "return m * k, k * n * m, 0"),
    "B is read once in IS": ("k * n * ceil_div(m, cols)", "k * n"),
    "sums of the last k fold are spilled": ("(ceil_div(k_folds, rows) - 1)", "ceil_div(k_folds, rows)"),
    "accumulators are one row short": ("max(0, stream - accumulator_rows)", "max(0, stream - accumulator_rows + 1)"),
    "padding to whole steps is forgotten": ("m, n, ceil_div(k, array.k_per_step))", "m, n, k // array.k_per_step)"),
    "slow steps cost nothing": ("return array.cycles_per_step * run_steps", "return run_steps"),
}


def _faulty_model(old: str, new: str) -> ModuleType:
    """The model with ``old`` replaced, as plain Python so that nothing is compiled or cached."""
    source = inspect.getsource(uarch.systolic.cycles)
    assert old in source
    source = source.replace(old, new).replace("from uarch.jit import inline, kernel", "inline = kernel = lambda f: f")
    module = ModuleType("faulty")
    exec(compile(source, "faulty", "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("fault", FAULTS)
def test_deliberate_fault_is_caught(fault: str) -> None:
    assert first_disagreement(random_cases(300, seed=5), _faulty_model(*FAULTS[fault])) is not None


def test_grid_without_fault_in_plain_python_agrees() -> None:
    """What catches the faults is the fault, not the way the faulty model is made."""
    unchanged = _faulty_model("skew = rows + cols - 2", "skew = rows + cols - 2")
    assert first_disagreement(random_cases(300, seed=5), unchanged) is None


@pytest.mark.parametrize("dataflow", Dataflow)
def test_swapped_operand_gives_another_product(dataflow: Dataflow) -> None:
    a, b = np.arange(9).reshape(3, 3), np.arange(9, 18).reshape(3, 3)
    array = SystolicArray(int(dataflow), 2, 2)
    assert (run_grid(array, *dense_operands(a, b)).product == a @ b).all()
    assert (run_grid(array, *dense_operands(b, a)).product != a @ b).any()


@pytest.mark.parametrize(
    "array",
    [
        SystolicArray(int(Dataflow.OS), 3, 2, drain=int(Drain.SHIFT)),
        SystolicArray(int(Dataflow.WS), 3, 2),
        SystolicArray(int(Dataflow.WS), 3, 2, overlap=int(Overlap.NONE)),
        SystolicArray(int(Dataflow.IS), 3, 2, feed=int(Feed.BROADCAST)),
    ],
)
def test_folds_cannot_start_a_cycle_earlier(array: SystolicArray) -> None:
    """The interval of the model is the least that the registers allow: with streams shorter than the shift chain."""
    a, b = np.arange(8).reshape(4, 2), np.arange(8).reshape(2, 4)
    if array.dataflow != Dataflow.OS:
        a, b = np.arange(12).reshape(2, 6), np.arange(12).reshape(6, 2)
    assert (run_grid(array, *dense_operands(a, b)).product == a @ b).all()
    with pytest.raises(HazardError):
        run_grid(array, *dense_operands(a, b), head_start=1)
