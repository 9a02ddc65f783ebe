"""``tile`` against ``burst``: the products of ``uarch fidelity``, and smaller ones of its other kernels."""

from __future__ import annotations

import pytest

from uarch.chip_file import load_chip
from workloads.validation.fidelity import compare_fidelities

pytestmark = pytest.mark.once("studies of many runs")

SMALL = {
    "gemm_rows": (1, 8, 64),
    "gemm_size": 8192,
    "l2_multiple": 3.0,
    "kv_lengths": (1024,),
    "keys": 16384,
    "pages": 8192,
}


@pytest.mark.compiled("too large for the interpreter")
def test_tile_is_near_burst() -> None:
    for case in compare_fidelities(load_chip("h100"), **SMALL):  # type: ignore[arg-type]
        assert abs(case.difference) < 0.03, case
