"""Keys: every byte that an answer is a function of changes them, and nothing else does."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uarch.chip_file import load_chip
from uarch.files import keys
from uarch.files.keys import can_matter, content_key, file_key, source_files, source_key

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
nested = st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@dataclass(frozen=True)
class Question:
    name: str
    size: int


@dataclass(frozen=True)
class OtherQuestion:
    name: str
    size: int


def typed(value: Any) -> str:
    """Tell 1, 1.0, True and b'' apart, as keys do; the order of a table does not matter."""
    if isinstance(value, dict):
        return f"table {sorted((typed(name), typed(each)) for name, each in value.items())}"
    if isinstance(value, list):
        return f"list {[typed(each) for each in value]}"
    return f"{type(value).__name__} {value!r}"


@given(nested, nested)
def test_keys_are_equal_for_equal_parts_only(one: Any, other: Any) -> None:
    assert (content_key(one) == content_key(other)) == (typed(one) == typed(other))


def test_parts_do_not_run_into_each_other() -> None:
    parts: list[tuple[Any, ...]] = [
        ("ab", "c"),
        ("a", "bc"),
        (("a", "b"), "c"),
        ("a", ("b", "c")),
        ("abc",),
        (b"abc",),
        (Question("a", 1),),
        (OtherQuestion("a", 1),),
        (Question("a", 2),),
        (np.arange(4),),
        (np.arange(4, dtype=np.int32),),
        (np.arange(4).reshape(2, 2),),
        (np.zeros(2, [("a", np.int32), ("b", np.int32)]),),
        (np.zeros(2, [("a", np.int32), ("c", np.int32)]),),
    ]
    assert len({content_key(*each) for each in parts}) == len(parts)


def test_other_types_are_refused_rather_than_hashed_by_their_address() -> None:
    with pytest.raises(TypeError, match="not part of a question"):
        content_key(object())


def test_every_field_of_a_chip_changes_its_key() -> None:
    chips = [load_chip("h100", overrides) for overrides in ([], ["l2.slices=16"], ["memory.queue=64"])]
    assert len({content_key(chip) for chip in chips}) == 3
    assert content_key(chips[0]) == content_key(load_chip("h100"))


def test_a_text_stands_for_the_contents_of_the_file_it_names(tmp_path: Path) -> None:
    path = tmp_path / "energy.toml"
    chip = load_chip("h100", [f"energy.table={path}"])
    seen = {content_key(chip)}
    for content in ("pj = 1.0", "pj = 2.0", "pj = 1.0 "):
        path.write_text(content)
        seen.add(content_key(chip))
    assert len(seen) == 4


def test_files_that_files_name_count_as_well(tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner.bin", tmp_path / "outer.toml"
    outer.write_text(f'[a]\nb = ["x", {{ c = "{inner}" }}]\n')
    inner.write_bytes(b"\xff")
    before = content_key(str(outer))
    inner.write_bytes(b"\xfe")
    assert content_key(str(outer)) != before
    (tmp_path / "own.json").write_text(f'{{"me": "{tmp_path / "own.json"}"}}')
    assert content_key(str(tmp_path / "own.json"))


@pytest.mark.parametrize("text", ["", "h100", "no/such/file.toml", "x" * 5000, "nul\0byte", "/dev/zero", "/tmp"])
def test_texts_that_name_no_file_are_only_texts(text: str) -> None:
    assert file_key(text) == ""
    assert content_key(text) == content_key(text)


def test_sources_in_all_folders_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_ROOT", tmp_path)
    files = ["engine/a.py", "engine/deep/er/b.py", "chips/c.toml", "configs/d.json", "notes.md", "commands/e.py"]
    for name in files:
        (tmp_path / "uarch" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "uarch" / name).write_text("old")
    fresh = source_key.__wrapped__
    for name in files:
        before = fresh("uarch")
        (tmp_path / "uarch" / name).write_text("new")
        assert (fresh("uarch") != before) == (name not in ("notes.md", "commands/e.py"))
    before = fresh("uarch")
    (tmp_path / "uarch" / "engine" / "a.py").rename(tmp_path / "uarch" / "engine" / "z.py")
    assert fresh("uarch") != before


def test_each_package_adds_its_sources() -> None:
    counts = [len(source_files(*packages)) for packages in (("uarch",), ("uarch", "kernels"))]
    assert counts[1] > counts[0] > 100
    assert source_key("uarch") != source_key("uarch", "kernels") != source_key("kernels")


def test_what_cannot_matter_is_not_imported_where_answers_are_made() -> None:
    """All modules that making an answer imports, as a fresh process has them."""
    made = "workloads.validation.prediction, workloads.experiments.points, workloads.running.runner, kernels.mapping.mapper"
    script = f"import sys, {made}; print(*[m.__file__ for m in sys.modules.values() if getattr(m, '__file__', None)])"
    root = Path(keys.__file__).parents[2]
    printed = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True, cwd=root).stdout
    modules = [Path(name) for name in printed.decode().split() if Path(name).is_relative_to(root)]
    ours = [path.relative_to(root).as_posix() for path in modules if ".venv" not in path.parts]
    assert len(ours) > 100
    assert [path for path in ours if not can_matter(path)] == []
