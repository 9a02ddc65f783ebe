"""The sequences of a step: how a file is read, what is refused, and how they are shared out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uarch.errors import InputError
from workloads.settings.step_batch import StepBatch, read_step

sequences = st.lists(
    st.tuples(st.integers(1, 600), st.integers(0, 4000)).map(lambda pair: (pair[0], sum(pair))), min_size=1, max_size=20
)


@pytest.mark.parametrize("text", ["512,512\n1,1024\n", "new_tokens,context_tokens\n\n 512 , 512\n1,1024"])
def test_a_file_with_a_line_for_each_sequence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "step.csv"
    file.write_text(text)
    assert read_step(file).sequences == ((512, 512), (1, 1024))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "has no sequences; a step needs at least one line new_tokens,context_tokens"),
        ("1,8\n0,4\n", "line 2 = '0,4': must be 1 <= new_tokens <= context_tokens <= 16777216"),
        ("1,8\n5,4\n", "line 2 = '5,4': must be 1 <= new_tokens <= context_tokens"),
        ("-1,8\n", "line 1 = '-1,8'"),
        ("1.5,8\n", "line 1 = '1.5,8'"),
        ("1,8,9\n", "line 1 = '1,8,9'"),
        ("1 8\n", "line 1 = '1 8'"),
        ("1,8\nnew_tokens,context_tokens\n", "line 2: names of columns are allowed in the first line only"),
        ("16777216,16777216\n" * 2, "has 33554432 new tokens; must be at least 1 and at most 16777216"),
    ],
)
def test_what_a_file_must_not_have(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "step.csv"
    file.write_text(text)
    with pytest.raises(InputError) as error:
        read_step(file)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_pairs_are_checked_likewise() -> None:
    with pytest.raises(InputError, match=r"step: sequence 1 = \(5, 4\): must be 1 <= new_tokens"):
        StepBatch.of([(1, 4), (5, 4)])
    with pytest.raises(InputError, match="step: has 0 new tokens"):
        StepBatch.of([])


@given(sequences, st.integers(1, 8))
def test_the_largest_share_has_its_part_of_everything(pairs: list[tuple[int, int]], parts: int) -> None:
    """Equally many sequences, rounded up; at least the mean of the new tokens; the whole is its own only share."""
    step = StepBatch.of(pairs)
    share = step.share(parts)
    assert len(share.sequences) == -(-len(pairs) // parts)
    assert share.tokens * parts >= step.tokens
    assert step.share(1) == step


def test_text_counts_runs_of_equal_sequences() -> None:
    assert str(StepBatch.of([(1, 9), (1, 9), (4, 4), (1, 9)])) == "2 x 1/9, 4/4, 1/9"
