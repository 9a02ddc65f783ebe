"""Every command and every program in the README runs as it stands there."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from uarch.cli import run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def shell_lines() -> list[str]:
    lines = [line.split("  #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like a checkout, in which files may be left behind."""
    (tmp_path / "uarch").symlink_to(ROOT / "uarch")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for line in shell_lines():
        program, *arguments = shlex.split(line)
        if program == "make":
            assert arguments[0] in targets, line
        elif program == "cp":
            shutil.copy(arguments[0], arguments[1])
        else:
            assert program == "uarch", line
            assert run(arguments) == 0, (line, capsys.readouterr().err)
        assert not capsys.readouterr().err.startswith("error"), line


@pytest.mark.parametrize("program", blocks("python"))
def test_every_program(program: str, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(program, "README.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out


def test_files_that_are_shown_or_linked_exist() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    local = [target for target in targets if not target.startswith("http")]
    assert local
    assert [target for target in local if not (ROOT / target).exists()] == []
