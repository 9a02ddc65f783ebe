"""Random arrays and matrices, and the comparison of an array model with the PE grid on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tests.oracles.pe_grid import dense_operands, run_grid
from uarch.systolic.cycles import UNBOUNDED, SystolicArray

EDGES = (1, 6)
SIZES = (1, 11)
ACCUMULATOR_ROWS = (0, 1, 3, UNBOUNDED)


class Case(NamedTuple):
    """One product on one array; matrices hold small integers drawn from ``seed``."""

    array: SystolicArray
    m: int
    n: int
    k: int
    seed: int

    def matrices(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        rng = np.random.default_rng(self.seed)
        return rng.integers(-9, 10, (self.m, self.k)), rng.integers(-9, 10, (self.k, self.n))


def random_cases(count: int, seed: int) -> Iterator[Case]:
    """Small cases over all options of the array."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        dataflow, overlap, feed, drain = (int(code) for code in rng.integers(0, (3, 2, 2, 2)))
        rows, cols = (int(edge) for edge in rng.integers(EDGES[0], EDGES[1] + 1, 2))
        m, n, k = (int(size) for size in rng.integers(SIZES[0], SIZES[1] + 1, 3))
        array = SystolicArray(
            dataflow,
            rows,
            cols,
            overlap,
            mac_stages=int(rng.integers(1, 4)),
            feed=feed,
            drain=drain,
            k_per_step=int(rng.integers(1, 4)),
            cycles_per_step=int(rng.integers(1, 4)),
            accumulator_rows=int(rng.choice(ACCUMULATOR_ROWS)),
        )
        yield Case(array, m, n, k, index)


def disagreements(case: Case, model: Any) -> list[str]:
    """What ``model`` (a module like ``uarch.systolic.cycles``) and the grid say differently; and wrong products."""
    array, m, n, k, _ = case
    a, b = case.matrices()
    grid = run_grid(array, *dense_operands(a, b, array.k_per_step))
    expected = {"product": True, "cycles": grid.cycles * array.cycles_per_step}
    expected |= dict(
        zip(("a_reads", "b_reads", "partial_reads", "partial_writes", "output_writes"), grid[2:], strict=True)
    )
    found = {"product": bool((grid.product == a @ b).all()), "cycles": model.tile_cycles(array, m, n, k)}
    found |= model.tile_traffic(array, m, n, k)._asdict()
    return [f"{name}: {found[name]}, grid {expected[name]}" for name in expected if found[name] != expected[name]]


def first_disagreement(cases: Iterable[Case], model: Any) -> str | None:
    """The first case on which ``model`` is wrong."""
    for case in cases:
        wrong = disagreements(case, model)
        if wrong:
            return f"{case}: {'; '.join(wrong)}"
    return None
