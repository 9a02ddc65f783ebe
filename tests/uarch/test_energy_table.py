"""Energy tables: complete, inside their ranges, and in sum what real packages draw."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

import uarch.energy
from uarch.chip import DATATYPES, Chip, Technology
from uarch.chip_file import load_chip
from uarch.energy import EnergyTable, energy_table_names, load_energy_table
from uarch.errors import InputError

TABLES = Path(uarch.energy.__file__).parent / "energy_tables"


def gemm_watts(chip: Chip, l2_bytes_per_mac: float, dram_share: float) -> float:
    """Power of a large fp16 matrix multiplication that keeps every array busy, as a paper sum.

    MACs at peak, L1 at its full bandwidth (which is what the arrays stream), ``l2_bytes_per_mac`` through NoC and L2 up
    to the L2's bandwidth, ``dram_share`` of the memory bandwidth with one activation per row of 1 KB, and static power.
    """
    table = load_energy_table(chip.energy.table)
    macs_per_second = chip.peak_flops("fp16") / 2
    l2_bytes_per_second = min(macs_per_second * l2_bytes_per_mac, chip.l2_bytes_per_second)
    dram_bytes_per_second = dram_share * chip.memory.bandwidth_bytes_per_second
    technology = chip.memory.technology
    picojoules_per_second = (
        macs_per_second * table.value("matrix_mac.fp16")
        + chip.l1_bytes_per_second * table.value("l1_byte")
        + l2_bytes_per_second * (table.value("l2_byte") + table.value("noc_byte"))
        + dram_bytes_per_second * table.value(f"dram_byte.{technology}")
        + dram_bytes_per_second / 1024 * table.value(f"dram_activate.{technology}")
    )
    return picojoules_per_second * 1e-12 + chip.power.static_watts


@pytest.mark.parametrize("name", ["h100", "a100"])
def test_a_chip_at_full_fp16_rate_draws_about_its_tdp(name: str) -> None:
    """H100: 400 W of MACs, 37 of L1, 86 of L2 and NoC, 44 of DRAM, 120 static are 687 W of 700.

    Tiles of 128 x 256 fetch 2 B x (1 / 128 + 1 / 256) per MAC; a square GEMM of 8192 reads and writes about a third of
    what memory could deliver in its time.
    """
    chip = load_chip(name)
    watts = gemm_watts(chip, l2_bytes_per_mac=2 * (1 / 128 + 1 / 256), dram_share=1 / 3)
    assert 0.75 <= watts / chip.power.tdp_watts <= 1.10


def test_an_hbm3_package_draws_25_to_40_watts_at_full_rate() -> None:
    """670 GB/s x 38.4 pJ/B = 25.7 W, and one activation of 800 pJ per KB 0.5 W; SPAD counts 30 W with background."""
    memory = load_chip("h100").memory
    table = load_energy_table("n4")
    bytes_per_second = memory.bandwidth_bytes_per_second / memory.packages
    per_byte = table.value("dram_byte.hbm3") + table.value("dram_activate.hbm3") / 1024
    assert 25 <= bytes_per_second * per_byte * 1e-12 <= 40


@pytest.mark.parametrize("name", energy_table_names())
def test_every_event_has_a_value_in_its_range_and_a_source(name: str) -> None:
    table = load_energy_table(name)
    assert table.name == name
    parts = {f"matrix_mac.{dtype}" for dtype in DATATYPES}
    parts |= {f"dram_{event}.{technology}" for event in ("activate", "byte") for technology in get_args(Technology)}
    parts |= {"vector_op", "special_op", "l1_byte", "l2_byte", "noc_byte", "link_byte"}
    assert set(table.events) == parts
    for event in table.events:
        entry = table.entry(event)
        assert 0 < entry.low <= entry.pj <= entry.high
        assert table.value(event) == entry.pj
        assert len(entry.source) > 10


@pytest.mark.parametrize("name", energy_table_names())
def test_wider_arithmetic_and_farther_memory_cost_more(name: str) -> None:
    table = load_energy_table(name)
    macs = [table.value(f"matrix_mac.{dtype}") for dtype in ("int8", "fp8", "bf16", "fp16", "tf32", "fp32")]
    assert macs == sorted(macs)
    levels = [table.value(event) for event in ("l1_byte", "l2_byte", "noc_byte", "dram_byte.hbm3", "dram_byte.gddr7")]
    assert levels == sorted(levels)
    newer = [
        table.value(f"dram_byte.{technology}") for technology in ("gddr6", "gddr6x", "gddr7", "hbm2e", "hbm3", "hbm3e")
    ]
    assert newer == sorted(newer, reverse=True)


def test_logic_shrinks_and_dram_does_not_depend_on_the_logic_process() -> None:
    n4, n7 = load_energy_table("n4"), load_energy_table("n7")
    for event in n4.events:
        if event.startswith("dram_") or event == "link_byte":
            assert n4.entry(event) == n7.entry(event)
        else:
            assert 0.6 <= n4.value(event) / n7.value(event) < 1
            assert n4.entry(event).source.endswith("from n7 to n4")


def test_an_unknown_event_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no event 'l1_bytes'; did you mean 'l1_byte'\? allowed: matrix_mac.fp32, "):
        load_energy_table("n4").value("l1_bytes")


def test_an_unknown_table_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"energy.table = 'n3': no such table or TOML file; .*allowed: n4, n6, n7, n8"):
        load_energy_table("n3")


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    """A file gets the DRAM sections that it leaves out, keeps those that it has, and is read anew after a change."""
    path = tmp_path / "mine.toml"
    text = (TABLES / "n7.toml").read_text()
    path.write_text(text)
    assert load_energy_table(str(path)) == load_energy_table("n7")
    path.write_text(text + (TABLES / "dram.toml").read_text().replace("pj = 38.4", "pj = 40.0"))
    own = load_energy_table(str(path))
    assert own.value("dram_byte.hbm3") == 40.0
    assert [event for event in own.events if own.entry(event) != load_energy_table("n7").entry(event)] == [
        "dram_byte.hbm3"
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("pj = 1.08\n", "pj = -1.08\n", "matrix_mac.fp16.pj = -1.08: must be greater than or equal to 0"),
        ("pj = 1.08\n", "pj = 7.0\n", r"matrix_mac.fp16 = .*: must have low <= pj <= high, not 0.5 <= 7.0 <= 1.5"),
        ("[vector_op]", "[vector_ops]", r"vector_op is missing \(and 1 more\)"),
        (
            "pj = 1.08\n",
            "pj = 1.08\nwatts = 1\n",
            r"matrix_mac.fp16.watts is not a field; allowed: pj, low, high, source",
        ),
        ("pj = 1.08\n", "", "matrix_mac.fp16.pj is missing"),
    ],
)
def test_a_wrong_table_is_explained(tmp_path: Path, old: str, new: str, expected: str) -> None:
    path = tmp_path / "mine.toml"
    text = (TABLES / "n7.toml").read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=f"^energy table mine: {expected}") as caught:
        load_energy_table(str(path))
    assert "\n" not in str(caught.value)


def test_tables_are_immutable_values() -> None:
    table = load_energy_table("n4")
    assert hash(table) == hash(EnergyTable.model_validate_json(table.model_dump_json()))
