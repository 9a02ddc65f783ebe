"""The one intrinsic of the kernels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from uarch.jit import kernel, lowest_bit


@kernel
def lowest_bits(values: npt.NDArray[np.int64], found: npt.NDArray[np.int64]) -> None:
    for i in range(len(values)):
        found[i] = lowest_bit(values[i])


def test_lowest_bit_of_every_place_with_and_without_higher_ones() -> None:
    place = np.arange(64)
    alone = np.left_shift(1, place)
    for values in (alone, alone | np.left_shift(-1, place), alone | np.int64(-(2**63))):
        found = np.zeros(64, dtype=np.int64)
        lowest_bits(values, found)
        assert found.tolist() == place.tolist()
