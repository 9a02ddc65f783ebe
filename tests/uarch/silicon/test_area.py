"""The area model: published dies, and what its blocks depend on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uarch.chip_file import load_chip, preset_names
from uarch.files.interpolation import log_log
from uarch.silicon.area import (
    BLOCKS,
    CORE_BLOCKS,
    area_breakdown_mm2,
    area_table,
    core_breakdown_mm2,
    die_area_mm2,
    modelled_die_area_mm2,
)

# SPAD (arXiv 2510.08544): mm2 of cores, L2 and crossbar, memory PHY with controllers, PCIe, link, die.
SPAD_BLOCKS = {"spad-prefill": (422, 111, 106, 39, 28, 784), "spad-decode": (206, 107, 88, 39, 28, 520)}

# LLMCompass's reading of the GA100 die photo, mm2: cores, crossbar, L2, memory PHY, memory controllers.
GA100_BLOCKS = {"cores": 476, "crossbar": 76, "l2": 119, "memory_phy": 58, "memory_controllers": 32}

PUBLISHED_DIES = {"a100": 826, "h100": 814, "spad-h100": 814, "a40": 628, "rtx-4090": 608.5}


@pytest.mark.parametrize("name", SPAD_BLOCKS)
def test_both_chips_of_spad_with_one_set_of_constants(name: str) -> None:
    *blocks, die = SPAD_BLOCKS[name]
    area = area_breakdown_mm2(load_chip(name))
    memory = area["memory_phy"] + area["memory_controllers"]
    modelled = [area["cores"], area["l2"] + area["crossbar"], memory, area["pcie"], area["link"]]
    assert modelled == [pytest.approx(block, rel=0.1) for block in blocks]
    assert sum(area.values()) == pytest.approx(die, rel=0.05)
    assert area["unused"] == pytest.approx(sum(area.values()) / 10)


@pytest.mark.parametrize("name", PUBLISHED_DIES)
def test_published_dies(name: str) -> None:
    chip = load_chip(name)
    assert modelled_die_area_mm2(chip) == pytest.approx(PUBLISHED_DIES[name], rel=0.05)
    assert die_area_mm2(chip) == PUBLISHED_DIES[name]


def test_blocks_of_the_ga100_die_photo() -> None:
    """All within 10 %; L2 and crossbar are where their constants come from."""
    area = area_breakdown_mm2(load_chip("a100"))
    for block, photo_mm2 in GA100_BLOCKS.items():
        assert area[block] == pytest.approx(photo_mm2, rel=0.1), block


def test_the_mi210_die_lacks_what_is_not_modelled() -> None:
    """724 mm2, of which video engines and most of the I/O have no block here; LLMCompass's model says 666."""
    assert 0.7 * 724 <= modelled_die_area_mm2(load_chip("mi210")) <= 724


@pytest.mark.parametrize("name", preset_names())
def test_blocks_are_complete_and_positive(name: str) -> None:
    chip = load_chip(name)
    area, core = area_breakdown_mm2(chip), core_breakdown_mm2(chip)
    assert tuple(area) == BLOCKS
    assert tuple(core) == CORE_BLOCKS
    assert min(area[block] for block in BLOCKS if block != "link") > 0
    assert (area["link"] > 0) == (chip.die.link_phy != "none")
    assert min(core.values()) >= 0
    assert area["cores"] == pytest.approx((chip.die.cores or chip.core.count) * sum(core.values()))


@pytest.mark.parametrize(
    ("override", "grown"),
    [
        ("core.count=256", {"cores": 2, "crossbar": 2}),
        ("l2.bytes=67108864", {"l2": 2}),
        ("memory.bandwidth_bytes_per_second=4.096e12", {"memory_phy": 2}),
        ("memory.channels=128", {"memory_controllers": 2}),
        ("die.pcie_lanes=64", {"pcie": 2}),
        ("link.bandwidth_bytes_per_second=900e9", {"link": 2}),
    ],
)
def test_each_field_moves_its_blocks(override: str, grown: dict[str, float]) -> None:
    before = area_breakdown_mm2(load_chip("spad-prefill"))
    after = area_breakdown_mm2(load_chip("spad-prefill", [override]))
    for block in set(BLOCKS) - {"unused"}:
        assert after[block] == pytest.approx(before[block] * grown.get(block, 1)), block


@pytest.mark.parametrize(
    ("override", "block", "factor"),
    [
        ("core.systolic.rows=64", "arrays", 2),
        ("core.vector.width=32", "vector", None),
        ("core.l1.bytes=655360", "l1", 2),
        ("core.register_bytes=524288", "registers", 2),
        ("die.texture_units_per_core=4", "texture", None),
    ],
)
def test_each_field_moves_its_part_of_the_core(override: str, block: str, factor: float | None) -> None:
    before = core_breakdown_mm2(load_chip("spad-prefill"))
    after = core_breakdown_mm2(load_chip("spad-prefill", [override]))
    assert [name for name in CORE_BLOCKS if after[name] != before[name]] == [block]
    assert after[block] > before[block]
    if factor is not None:
        assert after[block] == pytest.approx(factor * before[block])


def test_a_published_area_follows_the_modelled_one_unless_it_is_overridden() -> None:
    stated, larger = load_chip("spad-prefill"), load_chip("spad-prefill", ["core.count=144"])
    growth = modelled_die_area_mm2(larger) / modelled_die_area_mm2(stated)
    assert growth > 1.05
    assert die_area_mm2(larger) == pytest.approx(784 * growth)
    assert die_area_mm2(load_chip("spad-prefill", ["core.count=144", "die.area_mm2=900"])) == 900
    assert die_area_mm2(load_chip("spad-prefill", ["memory.capacity_gib=96"])) == 784


def test_wider_significands_make_larger_arrays() -> None:
    def arrays(rates: str) -> float:
        return core_breakdown_mm2(load_chip("h100", [f"core.systolic.macs_per_pe_per_cycle={rates}"]))["arrays"]

    fp16 = arrays("{fp16=1.0}")
    assert arrays("{fp16=1.0, bf16=1.0, int8=2.0, fp8=2.0}") == fp16
    assert arrays("{fp8=1.0}") < arrays("{int8=1.0}") < arrays("{bf16=1.0}") < fp16 < arrays("{fp32=1.0}")


@given(st.floats(1, 100))
def test_newer_nodes_are_denser(nm: float) -> None:
    node = area_table().node
    older = nm * 1.1
    assert log_log(node.nm, node.million_transistors_per_mm2, nm) >= log_log(
        node.nm, node.million_transistors_per_mm2, older
    )
    assert log_log(node.nm, node.sram_um2_per_bit, nm) <= log_log(node.nm, node.sram_um2_per_bit, older)
    for known, value in zip(node.nm, node.million_transistors_per_mm2, strict=True):
        assert log_log(node.nm, node.million_transistors_per_mm2, known) == value
