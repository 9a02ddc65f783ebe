"""How much the property tests try, and what the pass without compiled code does otherwise.

The same examples in every run, fewer of them where the kernels are interpreted; tests marked ``compiled`` are left out
there, with the marker's reason.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from tests.compiled_bench import CompiledBench
from uarch.dram import service

WITHOUT_JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=12 if WITHOUT_JIT else 50)
settings.register_profile("thorough", deadline=None, max_examples=200 if WITHOUT_JIT else 2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


if WITHOUT_JIT:
    # For the ``tile`` fidelity a compiled process measures: minutes for each table by the interpreter. Set before modules that
    # lower chips are imported.
    service._Bench = CompiledBench  # type: ignore[assignment,misc]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        marker = item.get_closest_marker("compiled")
        if marker is not None and WITHOUT_JIT:
            (reason,) = marker.args
            item.add_marker(pytest.mark.skip(reason=reason))
