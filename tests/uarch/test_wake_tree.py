"""The tournament tree of wake times against a plain list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from uarch.wake_tree import NEVER, earliest_sleeper, new_wake_tree, set_wake

times_ps = st.one_of(st.integers(0, 5), st.just(NEVER))


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(st.integers(0, n - 1), times_ps)))))
def test_the_earliest_sleeper_is_the_first_minimum_of_the_list(case: tuple[int, list[tuple[int, int]]]) -> None:
    sleepers, changes = case
    tree, listed = new_wake_tree(sleepers), [NEVER] * sleepers
    for number, time_ps in changes:
        set_wake(tree, number, time_ps)
        listed[number] = time_ps
        assert tree[1] == min(listed)
        assert earliest_sleeper(tree) == listed.index(min(listed))
