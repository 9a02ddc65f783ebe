"""How many random cases are tried, and from which seed: a few in every run of the tests, as many as one likes by ``make fuzz``.

A case is drawn from the seed, its kind and its number alone, so that one that fails can be repeated by itself:
``FUZZ_SEED=3 FUZZ_FIRST=517 FUZZ_CASES=1 pytest tests/robustness/test_random_chips.py``.
"""

from __future__ import annotations

import os
from random import Random

SEED = int(os.environ.get("FUZZ_SEED", "0"))
_FIRST = int(os.environ.get("FUZZ_FIRST", "0"))
_CASES = int(os.environ.get("FUZZ_CASES", "0"))


def numbers(usual: int) -> range:
    """Return the numbers of the cases to try: ``usual`` of them unless the environment says how many."""
    return range(_FIRST, _FIRST + (_CASES or usual))


def random_of(kind: str, number: int) -> Random:
    """Return the source of a case's random choices."""
    return Random(f"{SEED} {kind} {number}")


def named(kind: str, number: int) -> str:
    """Say in a failure's message how to repeat the case."""
    return f"{kind}: FUZZ_SEED={SEED} FUZZ_FIRST={number} FUZZ_CASES=1"
