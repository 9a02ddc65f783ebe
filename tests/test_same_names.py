"""The test of ``a/b/c.py`` is ``tests/a/b/test_c.py``, or ``tests/tested_by.toml`` says which file tests it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.support.readmes import PACKAGES, ROOT

pytestmark = pytest.mark.once("files and formulas: nothing is jitted")

TESTS = ROOT / "tests"
TESTED_BY: dict[str, list[str]] = tomllib.loads((TESTS / "tested_by.toml").read_text(encoding="utf-8"))
"""By test file, paths relative to ``tests``: the modules that it tests besides the one of its name."""


def modules() -> list[Path]:
    found = [path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return sorted(path for path in found if path.name not in ("__init__.py", "__main__.py"))


def own_test(module: Path) -> Path:
    return TESTS / module.parent / f"test_{module.stem}.py"


def test_every_module_has_a_test_of_its_name_or_is_listed_with_one() -> None:
    listed = {name for names in TESTED_BY.values() for name in names}
    homeless = [
        str(module) for module in modules() if not own_test(module).exists() and module.as_posix() not in listed
    ]
    assert homeless == [], "add tests/FOLDER/test_NAME.py, or a line to tests/tested_by.toml"


def test_a_module_is_listed_once_and_only_if_it_needs_to_be() -> None:
    listed = [name for names in TESTED_BY.values() for name in names]
    assert sorted(listed) == sorted(set(listed))
    assert [name for name in listed if not (ROOT / name).exists()] == [], "no longer there"
    assert [name for name in listed if own_test(Path(name)).exists()] == [], "has a test of its name"


@pytest.mark.parametrize("test_file", TESTED_BY)
def test_a_listed_file_mentions_what_it_tests(test_file: str) -> None:
    text = (TESTS / test_file).read_text(encoding="utf-8")
    assert [name for name in TESTED_BY[test_file] if not re.search(rf"\b{Path(name).stem}\b", text)] == []
