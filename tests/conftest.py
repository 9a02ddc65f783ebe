"""How much the property tests try: the same examples in every run, fewer of them where the kernels are interpreted."""

from __future__ import annotations

import os

from hypothesis import settings

WITHOUT_JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=12 if WITHOUT_JIT else 50)
settings.register_profile("thorough", deadline=None, max_examples=200 if WITHOUT_JIT else 2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
