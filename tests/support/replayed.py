"""Replaying a program in both extreme orders, for the tests of matrix kernels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kernels.program.tile_program import TileProgram
from kernels.replay.interpreter import replay

Matrix = npt.NDArray[np.float64]


def matrix(seed: int, *shape: int) -> Matrix:
    """Normally distributed numbers."""
    return np.random.default_rng(seed).normal(size=shape)


def assert_replayed(program: TileProgram, memory: dict[str, Matrix], outputs: dict[str, Matrix]) -> None:
    """Whatever order the counters allow, each element of the outputs that is not NaN is written once and right."""
    for latest_first in (False, True):
        state = {name: values.copy() for name, values in memory.items()}
        counts = replay(program, state, latest_first=latest_first)
        for name, expected in outputs.items():
            np.testing.assert_array_equal(counts[name], ~np.isnan(expected), err_msg=name)
            np.testing.assert_allclose(state[name], expected, rtol=1e-10, atol=1e-10, err_msg=name)
        for name, count in counts.items():
            assert count.max() == 1, name
            assert name in outputs or name not in memory, f"{name} is an input, but written"
