"""Machine code on disk, and the one intrinsic of the kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.support.empty_cache import flip
from tests.support.full_disk import largest_file
from uarch import jit
from uarch.jit import kernel, lowest_bit


@kernel
def lowest_bits(values: npt.NDArray[np.int64], found: npt.NDArray[np.int64]) -> None:
    for i in range(len(values)):
        found[i] = lowest_bit(values[i])


def test_lowest_bit_of_every_place_with_and_without_higher_ones() -> None:
    place = np.arange(64)
    alone = np.left_shift(1, place)
    for values in (alone, alone | np.left_shift(-1, place), alone | np.int64(-(2**63))):
        found = np.zeros(64, dtype=np.int64)
        lowest_bits(values, found)
        assert found.tolist() == place.tolist()


def doubled(values: npt.NDArray[np.int64]) -> int:
    return int(2 * values.sum())


def freshly(directory: Path | None, patch: pytest.MonkeyPatch) -> Any:
    """Compile as a new process does whose cache is ``directory``, and use it."""
    patch.setattr(jit, "cache_directory", lambda: directory)
    compiled: Any = kernel(doubled)
    assert compiled(np.arange(5)) == 20
    return compiled


@pytest.mark.compiled("there is no machine code")
def test_machine_code_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not freshly(tmp_path, monkeypatch).stats.cache_hits
    assert freshly(tmp_path, monkeypatch).stats.cache_hits
    assert len(list(tmp_path.rglob("*doubled*"))) == 2


@pytest.mark.compiled("there is no machine code")
@pytest.mark.parametrize("ending", ["nbi", "nbc"])
def test_damaged_machine_code_is_compiled_again(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    freshly(tmp_path, monkeypatch)
    (path,) = tmp_path.rglob(f"*.{ending}")
    for position in (0, path.stat().st_size // 2, -1):
        flip(path, position)
        assert not freshly(tmp_path, monkeypatch).stats.cache_hits
        assert capsys.readouterr().err == f"note: {path}: damaged, made anew\n"
        assert freshly(tmp_path, monkeypatch).stats.cache_hits


@pytest.mark.compiled("there is no machine code")
def test_without_space_or_place_machine_code_is_compiled_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with largest_file(500):
        freshly(tmp_path, monkeypatch)
    freshly(None, monkeypatch)
    (tmp_path / "file").write_text("")
    freshly(tmp_path / "file", monkeypatch)
    assert not list(tmp_path.rglob("*.nbc"))
