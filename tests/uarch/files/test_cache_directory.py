"""The cache directory: this user's alone, or none."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from uarch.files.cache_directory import UnsafeDirectoryError, cache_directory, private_directory

chosen = cache_directory.__wrapped__


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_made_for_this_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "a" / "b"))
    directory = chosen()
    assert directory is not None
    assert directory.parent == tmp_path / "a" / "b"
    assert mode(directory) == 0o700
    assert chosen() == directory


def test_one_that_others_can_only_read_is_closed(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o755)
    assert mode(private_directory(tmp_path / "cache")) == 0o700


@pytest.mark.parametrize("unsafe", [0o770, 0o707, 0o1777, 0o720])
def test_one_that_others_can_write_is_not_used(
    unsafe: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    directory = chosen()
    directory.chmod(unsafe)
    assert chosen() is None
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{directory} can be written by others (mode {unsafe:04o})" in said


def test_one_of_another_user_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    chosen()
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    assert chosen() is None
    assert f"belongs to another user (number {other - 1})" in capsys.readouterr().err


def test_a_link_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(UnsafeDirectoryError, match="is a link"):
        private_directory(tmp_path / "link")


def test_the_folder_for_temporary_files_takes_its_place_under_the_same_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    directory = chosen()
    assert directory.parent == tmp_path / "temporary"
    assert mode(directory) == 0o700
    directory.chmod(0o777)
    assert chosen() is None


def test_without_any_place_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    assert chosen() is None
