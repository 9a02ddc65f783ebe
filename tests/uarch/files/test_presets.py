"""Names and paths: a path works wherever a name does, and what is neither is refused with what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kernels.collectives.libraries import LIBRARIES as COLLECTIVES
from kernels.collectives.libraries import load_library
from kernels.mapping.tile_menu import MENUS, library_menu
from kernels.vector.libraries import LIBRARIES as VECTORS
from kernels.vector.libraries import row_kernel
from uarch.chip_file import CHIPS, load_chip
from uarch.dram.standards.standard import STANDARDS, load_standard
from uarch.dram.standards.technology import TECHNOLOGIES, load_technology
from uarch.energy.tables_on_disk import TABLES, load_energy_table
from uarch.errors import InputError
from uarch.files.keys import content_key
from uarch.files.presets import Presets
from workloads.bench.suite import SUITES, load_suite
from workloads.experiments.schema import EXPERIMENTS, load_experiment
from workloads.models.presets import MODELS, load_model
from workloads.settings.context_lengths import CONTEXTS, context_lengths
from workloads.settings.stack import STACKS, load_stack

KINDS: list[tuple[Presets, Callable[[str], Any]]] = [
    (CHIPS, load_chip),
    (STANDARDS, load_standard),
    (TECHNOLOGIES, load_technology),
    (TABLES, load_energy_table),
    (MENUS, library_menu),
    (COLLECTIVES, load_library),
    (VECTORS, lambda name: row_kernel(name, "softmax", load_chip("a100"))),
    (SUITES, load_suite),
    (EXPERIMENTS, load_experiment),
    (MODELS, load_model),
    (STACKS, load_stack),
    (CONTEXTS, lambda name: context_lengths(name, 3).context.tolist()),
]
NAMED_AFTER_THEIR_FILE = {STANDARDS.kind, MODELS.kind}


@pytest.mark.parametrize(("presets", "load"), KINDS, ids=lambda value: getattr(value, "kind", ""))
def test_a_copy_of_a_preset_under_another_name_is_read_by_its_path(
    tmp_path: Path, presets: Presets, load: Callable[[str], Any]
) -> None:
    name = presets.names[0]
    path = tmp_path / f"{name if presets.kind in NAMED_AFTER_THEIR_FILE else 'mine'}{presets.suffix}"
    path.write_bytes(presets.find(name).read_bytes())
    assert load(str(path)) == load(name)


@pytest.mark.parametrize(("presets", "load"), KINDS, ids=lambda value: getattr(value, "kind", ""))
def test_an_unknown_name_is_refused_with_the_nearest(presets: Presets, load: Callable[[str], Any]) -> None:
    name = presets.names[0]
    with pytest.raises(
        InputError, match=f"no such preset or .* file; did you mean '{name}'.* allowed: {name}"
    ) as error:
        load(f"{name}x")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", ["", ".", "/", "nothing\0here", "x" * 5000, "a\nb"])
def test_what_can_be_no_file_is_one_line(path: str) -> None:
    with pytest.raises(InputError) as error:
        CHIPS.find(path)
    assert "\n" not in str(error.value)
    assert CHIPS.stamp(path) == "" or Path(path).is_dir()


def test_a_stamp_changes_with_a_file_and_is_none_for_presets(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    assert STACKS.stamp(str(path)) == STACKS.stamp("graph") == ""
    path.write_text("a = 1")
    before = STACKS.stamp(str(path))
    path.write_text("a = 12")
    assert "" != before != STACKS.stamp(str(path))


def test_every_file_that_a_chip_depends_on_changes_its_key(tmp_path: Path) -> None:
    def copy(presets: Presets, name: str) -> Path:
        path = tmp_path / f"my-{name}.toml"
        path.write_bytes(presets.find(name).read_bytes())
        return path

    technology, standard, table, menu = (
        copy(TECHNOLOGIES, "hbm3"), copy(STANDARDS, "hbm3-5200"), copy(TABLES, "n4"), copy(MENUS, "library"),
    )  # fmt: skip
    standard.write_text(standard.read_text().replace('"hbm3"', f'"{technology}"'))
    sets = [f"memory.standard={standard}", f"memory.technology={technology}", f"energy.table={table}", f"menu={menu}"]
    chip = load_chip("h100", sets)
    keys = {content_key(chip)}
    for path in (technology, standard, table, menu):
        path.write_text(f"{path.read_text()}\n")
        keys.add(content_key(chip))
    assert len(keys) == 5
