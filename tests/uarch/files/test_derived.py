"""Stores: what is kept comes back equal, or is made anew."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.empty_cache import flip, keep_in
from tests.support.full_disk import largest_file
from uarch.files.derived import Store, array_store, checked, json_store, sealed, unsealed


@dataclass(frozen=True)
class Answer:
    seconds: float
    trials: int
    shares: tuple[float, ...]
    of: dict[str, float]


ANSWER = Answer(0.1 + 0.2, 3, (1e-300, 0.5), {"dram": 1.0})
TEXT = '{"seconds":0.30000000000000004,"trials":3,"shares":[1e-300,0.5],"of":{"dram":1.0}}'
TABLE = np.arange(6.0).reshape(2, 3)


def from_arrays(arrays: Any) -> np.ndarray[Any, Any]:
    return checked(arrays["table"], np.float64, (2, None))


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store[Answer]:
    keep_in(tmp_path, monkeypatch)
    return json_store("answers", Answer, "uarch")


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store[Any]:
    keep_in(tmp_path, monkeypatch)
    return array_store("tables", lambda table: {"table": table}, from_arrays, "uarch", remembers=False)


def kept(store: Store[Any], key: str) -> Path:
    path = store.path(key)
    assert path is not None
    return path


def put(store: Store[Any], key: str, content: bytes) -> None:
    """Leave a file with the right checksum."""
    kept(store, key).parent.mkdir(exist_ok=True)
    kept(store, key).write_bytes(sealed(content, key))


def test_answers_come_back_equal_from_disk(answers: Store[Answer], tables: Store[Any]) -> None:
    answers.remember("key", ANSWER)
    tables.remember("key", TABLE)
    answers.known.clear()
    assert answers.recall("key") == ANSWER
    assert kept(answers, "key").read_bytes().startswith(TEXT.encode())
    np.testing.assert_array_equal(tables.recall("key"), TABLE)
    assert answers.recall("other") is None


@given(st.binary(max_size=50), st.text(max_size=5), st.data())
def test_no_bit_of_a_sealed_content_can_change(content: bytes, key: str, data: st.DataObject) -> None:
    whole = bytearray(sealed(content, key))
    assert unsealed(bytes(whole), key) == content
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ValueError, match="checksum"):
        unsealed(bytes(whole), key)


@pytest.mark.parametrize("name", ["answers", "tables"])
def test_a_flipped_bit_anywhere_makes_the_answer_anew(
    name: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    store, answer = request.getfixturevalue(name), {"answers": ANSWER, "tables": TABLE}[name]
    store.remember("key", answer)
    path = kept(store, "key")
    whole = path.read_bytes()
    for position in range(len(whole)):
        store.known.clear()
        path.write_bytes(whole)
        flip(path, position, position % 8)
        assert store.recall("key") is None
        assert capsys.readouterr().err == f"note: {path}: damaged, made anew\n"
    for length in (0, 1, 70, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert store.recall("key") is None
    store.remember("key", answer)
    assert path.read_bytes() == whole


def test_the_file_of_another_key_does_not_count(answers: Store[Answer]) -> None:
    answers.remember("key", ANSWER)
    kept(answers, "key").rename(kept(answers, "other"))
    answers.known.clear()
    assert answers.recall("other") is None


@pytest.mark.parametrize(
    "change",
    [
        ("3", '"x"'),
        ("3", "3.0"),
        ("3", "1e999"),
        ("3", "true"),
        ("0.5", "1e999"),
        ("0.5", "NaN"),
        ("0.5", "[0.5]"),
        ("0.5", "null"),
        ('"trials":3,', ""),
        ('"trials":3,', '"trials":3,"more":1,'),
        ('{"dram":1.0}', "[]"),
        (":", ": "),
        (TEXT, ""),
        (TEXT, "[]"),
        (TEXT, "[" * 100_000),
        (TEXT, "9" * 5_000),
    ],
)
def test_values_that_the_store_would_not_write_are_refused(change: tuple[str, str], answers: Store[Answer]) -> None:
    put(answers, "key", TEXT.encode())
    assert answers.recall("key") == ANSWER
    answers.known.clear()
    put(answers, "key", TEXT.replace(*change).encode())
    assert answers.recall("key") is None


@pytest.mark.parametrize(
    "table",
    [
        TABLE.astype(np.float32),
        TABLE[0],
        TABLE[:1],
        TABLE.T,
        np.full((2, 3), np.inf),
        np.full((2, 3), np.nan),
        np.array([[1.0], [2.0, 3.0]], dtype=object),
    ],
)
def test_arrays_of_another_kind_are_refused(table: Any, tables: Store[Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "table.npz", table=table)
    put(tables, "key", (tmp_path / "table.npz").read_bytes())
    assert tables.recall("key") is None
    np.savez(tmp_path / "table.npz", other=TABLE)
    put(tables, "key", (tmp_path / "table.npz").read_bytes())
    assert tables.recall("key") is None


def no_directory(patch: pytest.MonkeyPatch, _: Path) -> None:
    patch.setattr("uarch.files.derived.cache_directory", lambda: None)


def no_folder(_: pytest.MonkeyPatch, path: Path) -> None:
    path.parent.parent.joinpath("answers").write_text("in the way")


@pytest.mark.parametrize("prevent", [no_directory, no_folder])
def test_without_a_place_this_process_alone_knows(
    prevent: Callable[[pytest.MonkeyPatch, Path], None], answers: Store[Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    prevent(monkeypatch, kept(answers, "key"))
    answers.remember("key", ANSWER)
    assert answers.recall("key") == ANSWER
    answers.known.clear()
    assert answers.recall("key") is None


def test_a_full_disk_costs_only_the_file(tables: Store[Any]) -> None:
    with largest_file(100):
        tables.remember("key", TABLE)
    assert tables.recall("key") is None
    assert list(kept(tables, "key").parent.iterdir()) == []


def test_writers_at_the_same_time_leave_one_whole_file(answers: Store[Answer]) -> None:
    outcomes = [Answer(float(i), i, (), {}) for i in range(40)]

    def write_and_read(outcome: Answer) -> Answer | None:
        answers.remember("key", outcome)
        answers.known.pop("key", None)
        return answers.recall("key")

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(write_and_read, outcomes))
    assert all(outcome in outcomes for outcome in seen)
    assert [path.name for path in kept(answers, "key").parent.iterdir()] == ["key"]


def test_keys_differ_by_sources_and_by_question(answers: Store[Answer]) -> None:
    other = json_store("answers", Answer, "uarch", "kernels")
    assert len({answers.key("a"), answers.key("b"), other.key("a")}) == 3
