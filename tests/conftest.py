"""How much the property tests try, and what the passes without compiled code and with checked bounds do otherwise.

The same examples in every run, fewer of them where the kernels are interpreted. Tests marked ``compiled`` are left out there,
those marked ``once`` in both passes, with the marker's reason.
"""

from __future__ import annotations

import gc
import os

import pytest
from hypothesis import settings

from tests.support import compiled_process
from uarch.dram.channels import measured_service

WITHOUT_JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"
BOUNDS_CHECKED = os.environ.get("NUMBA_BOUNDSCHECK", "0") != "0"

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=12 if WITHOUT_JIT else 50)
settings.register_profile("thorough", deadline=None, max_examples=200 if WITHOUT_JIT else 2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


if WITHOUT_JIT:
    # For the ``tile`` fidelity a compiled process measures: minutes for each table by the interpreter. Set before modules that
    # lower chips are imported.
    measured_service.measurer = compiled_process.measure


# Importing and compiling make millions of objects that stay: to look through them for others takes a quarter of the time.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.set_threshold(100_000)
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    left_out = [*["compiled"] * WITHOUT_JIT, *["once"] * (WITHOUT_JIT or BOUNDS_CHECKED)]
    for item in items:
        for marker in filter(None, map(item.get_closest_marker, left_out)):
            (reason,) = marker.args
            item.add_marker(pytest.mark.skip(reason=reason))
