"""How much the property tests try: the same examples in every run, fewer of them where the kernels are interpreted."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from uarch.dram import service

WITHOUT_JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=12 if WITHOUT_JIT else 50)
settings.register_profile("thorough", deadline=None, max_examples=200 if WITHOUT_JIT else 2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


if WITHOUT_JIT:

    @pytest.fixture(autouse=True, scope="session")
    def _no_measuring_by_the_interpreter() -> Iterator[None]:
        """Times of the ``tile`` fidelity are taken from disk, where compiled code left them, or the test is skipped."""

        def skip(*arguments: object) -> None:
            pytest.skip("DRAM times that compiled code has not measured: too slow to measure by the interpreter")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(service._Bench, "measure", skip)
            yield
