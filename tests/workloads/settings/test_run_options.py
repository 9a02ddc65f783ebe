"""Options are declared once, and everything that shows them follows.

Exercised with them: choices, option_groups, option_records.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest

from uarch.errors import InputError
from workloads.settings.option_records import declared, reference
from workloads.settings.phase import Phase
from workloads.settings.run_options import GivenOptions, RunOptions

README = Path(__file__).parents[3] / "workloads" / "settings" / "README.md"


def test_every_field_is_declared_and_can_be_given_by_keyword() -> None:
    """Type checkers know the names and types that the record has."""
    assert [each.name for each in declared(RunOptions)] == [field.name for field in fields(RunOptions)]
    assert {each.name: each.kind for each in declared(RunOptions)} == get_type_hints(GivenOptions)


def test_a_trace_describes_every_option() -> None:
    """The seed apart, which has a field of its own; datatypes that were left out are those that are used."""
    described = Phase("decode", 2, 64, tp=2, dtype="bf16").describe()
    assert set(described) == {"phase", "batch", "seq", *(field.name for field in fields(RunOptions))} - {"seed"}
    assert (described["tp"], described["weight_dtype"], described["kv_dtype"]) == (2, "bf16", "bf16")


def test_the_reference_is_that_of_the_record() -> None:
    """To renew it, print ``reference(RunOptions)`` between the marks."""
    assert f"<!-- run options -->\n{reference(RunOptions)}<!-- end -->" in README.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"attention": "ring"}, "attention = 'ring': not known; allowed: flash, unfused"),
        ({"weight_dtype": "int3"}, "weight_dtype = 'int3': not known; did you mean 'int8'? allowed: fp32, "),
        ({"tp": 0}, "tp = 0: must be at least 1 and at most 16777216"),
        ({"pp": 1.5}, "pp = 1.5: must be a whole number"),
        ({"seed": -1}, "seed = -1: must be at least 0"),
    ],
)
def test_wrong_values_are_refused(options: dict[str, object], expected: str) -> None:
    with pytest.raises(InputError) as caught:
        RunOptions(**options)  # type: ignore[arg-type]
    assert expected in str(caught.value)


def test_sizes_of_numpy_become_plain_ones() -> None:
    """A trace stores them as JSON."""
    assert type(RunOptions(tp=np.int64(2)).tp) is int  # type: ignore[arg-type]
