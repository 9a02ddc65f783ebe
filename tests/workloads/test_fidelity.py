"""``tile`` against ``burst``, on kernels smaller than those of ``uarch fidelity``."""

from __future__ import annotations

import pytest

from tests.conftest import WITHOUT_JIT
from uarch.chip_file import load_chip
from workloads.fidelity import compare_fidelities

SMALL = {
    "gemm_rows": (1, 64),
    "gemm_size": 3072,
    "l2_multiple": 3.0,
    "kv_lengths": (1024,),
    "keys": 8192,
    "pages": 4096,
}


@pytest.mark.skipif(WITHOUT_JIT, reason="too large for the interpreter")
def test_tile_is_near_burst() -> None:
    """Within 5 % where kernels take some 5 us; README has the differences for those of 50 us and more: at most 3 %."""
    chip = load_chip("h100", ["l2.bytes=4194304"])
    for case in compare_fidelities(chip, **SMALL):  # type: ignore[arg-type]
        assert abs(case.difference) < 0.05, case
