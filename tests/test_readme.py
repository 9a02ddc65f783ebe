"""Every command line and every program in a README runs as it stands there; every link leads somewhere.

A line that reads a file which an earlier line makes runs in the same folder; the earlier line is run first where it has not
been.
"""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from tests.support.readmes import EXAMPLES, PACKAGES, READMES, ROOT, Example
from uarch.cli import run

pytestmark = pytest.mark.once("whole commands: nothing of them depends on how kernels are executed")


class Workplace:
    """A folder like a checkout, in which files may be left behind, and the examples that were run there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done: set[str] = set()
        for package in PACKAGES:
            (folder / package).symlink_to(ROOT / package)


@pytest.fixture(scope="module")
def workplaces() -> dict[str, Workplace]:
    """Folders by group of examples."""
    return {}


@pytest.fixture
def workplace_of(
    workplaces: dict[str, Workplace], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Example], Workplace]:
    def enter(example: Example) -> Workplace:
        if example.group not in workplaces:
            workplaces[example.group] = Workplace(tmp_path_factory.mktemp("checkout"))
        monkeypatch.chdir(workplaces[example.group].folder)
        return workplaces[example.group]

    return enter


def make(*arguments: str) -> None:
    """Targets are not made, but must be there."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [name for name in arguments if "=" not in name and name not in targets] == []


def pytest_(*arguments: str) -> None:
    """Tests of tests are not run, but what they are taken from must be there."""
    paths = [name.split("::")[0] for name in arguments if name.startswith("tests/")]
    assert [name for name in paths if not (ROOT / name).exists()] == []


def uarch(*arguments: str) -> None:
    assert run(list(arguments)) == 0


PROGRAMS: dict[str, Callable[..., object]] = {"make": make, "pytest": pytest_, "cp": shutil.copy, "uarch": uarch}


def run_line(line: str) -> None:
    words = shlex.split(line)
    while "=" in words[0]:  # a variable of the environment
        words.pop(0)
    assert words[0] in PROGRAMS, f"{words[0]} is not among the programs that a README may call"
    PROGRAMS[words[0]](*words[1:])


def run_program(example: Example) -> None:
    with redirect_stdout(StringIO()) as printed:
        exec(compile(example.text, example.place, "exec"), {"__name__": "__main__"})
    assert printed.getvalue(), f"{example.place} prints nothing"


def run_example(example: Example, workplace: Workplace) -> None:
    for before in example.needs:
        run_example(before, workplace)
    if example.place not in workplace.done:
        if example.language == "sh":
            run_line(example.text)
        else:
            run_program(example)
        workplace.done.add(example.place)


def examples_in(language: str) -> list[object]:
    return [
        pytest.param(example, id=example.place, marks=pytest.mark.xdist_group(example.group))
        for example in EXAMPLES
        if example.language == language
    ]


@pytest.mark.parametrize("example", examples_in("sh"))
def test_every_command(
    example: Example, workplace_of: Callable[[Example], Workplace], capsys: pytest.CaptureFixture[str]
) -> None:
    run_example(example, workplace_of(example))
    assert not capsys.readouterr().err.startswith("error")


@pytest.mark.parametrize("example", examples_in("python"))
def test_every_program(example: Example, workplace_of: Callable[[Example], Workplace]) -> None:
    run_example(example, workplace_of(example))


@pytest.mark.parametrize("example", examples_in("toml"))
def test_every_table_can_be_read(example: Example) -> None:
    assert tomllib.loads(example.text)


def test_every_example_is_tested() -> None:
    """A block in another language would not be looked at."""
    assert {example.language for example in EXAMPLES} <= {"sh", "python", "toml", "text"}


def anchors_of(path: Path) -> set[str]:
    """Anchors that GitHub makes of a page's headings."""
    prose = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_and_sections_that_are_shown_or_linked_exist(readme: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", readme.read_text(encoding="utf-8"))
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = readme.parent / name if name else readme
        assert path.exists(), target
        assert not anchor or path.suffix != ".md" or anchor in anchors_of(path), target
