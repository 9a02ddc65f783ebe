"""Ranges of energies."""

from __future__ import annotations

from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.analysis.energy_range import range_fields, total_range

names = st.sampled_from(["matrix", "l1", "dram", "static"])
parts = st.dictionaries(names, st.tuples(st.floats(0, 10), st.floats(0, 1), st.floats(1, 3)), min_size=1)


def test_two_parts_by_hand() -> None:
    """3 J that may be 1.5 to 4.5 J and 2 J that may be 0 to 4 J: 5 J, give or take sqrt(1.5^2 + 2^2) = 2.5 J."""
    low, high = total_range({"matrix": 3.0, "dram": 2.0}, {"matrix": (0.5, 1.5), "dram": (0.0, 2.0)})
    assert (low, high) == (2.5, 7.5)


@given(parts)
def test_a_sum_is_known_no_worse_than_if_all_parts_were_wrong_together(
    known: dict[str, tuple[float, float, float]],
) -> None:
    joules = {name: value for name, (value, _, _) in known.items()}
    ranges = {name: (lower, upper) for name, (_, lower, upper) in known.items()}
    low, high = total_range(joules, ranges)
    total = sum(joules.values())
    assert sum(joules[name] * ranges[name][0] for name in joules) <= low + 1e-9
    assert low <= total + 1e-9
    assert total <= high + 1e-9
    assert high <= sum(joules[name] * ranges[name][1] for name in joules) + 1e-9
    widest = max(joules[name] * (ranges[name][1] - 1) for name in joules)
    assert widest <= high - total + 1e-9 <= sqrt(len(joules)) * widest + 2e-9


def test_fields_of_a_roll_up() -> None:
    fields = range_fields({"dram": 10.0}, {"dram": (0.8, 1.1)}, seconds=2.0, tokens=5.0, delivery_efficiency=0.5)
    assert fields == {
        "energy_low_joules": pytest.approx(8),
        "energy_high_joules": pytest.approx(11),
        "average_power_low_watts": pytest.approx(4),
        "average_power_high_watts": pytest.approx(5.5),
        "average_board_power_low_watts": pytest.approx(8),
        "average_board_power_high_watts": pytest.approx(11),
        "energy_per_token_low_joules": pytest.approx(1.6),
        "energy_per_token_high_joules": pytest.approx(2.2),
        "energy_dram_low_fraction": 0.8,
        "energy_dram_high_fraction": 1.1,
    }
