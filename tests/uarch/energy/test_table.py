"""Energy tables: complete, inside their ranges, and in sum what real packages draw.

Exercised with it: sourced.
"""

from __future__ import annotations

from math import log
from pathlib import Path

import pytest

import uarch.energy.tables_on_disk
from uarch.chip_file import load_chip, preset_names
from uarch.datatypes import MATRIX_DATATYPES
from uarch.dram.standards.standard import load_standard
from uarch.energy.per_event import COMPONENT_OF_EVENT, event_energies
from uarch.energy.static_power import dram_background_watts, static_power
from uarch.energy.tables_on_disk import EnergyTable, energy_table_names, load_energy_table
from uarch.errors import InputError
from uarch.power.peak import peak_power
from uarch.silicon.tdp import tdp_watts

TABLES = Path(uarch.energy.tables_on_disk.__file__).parent / "tables"


@pytest.mark.parametrize("name", ["h100", "a100"])
def test_a_chip_at_full_fp16_rate_draws_about_its_tdp(name: str) -> None:
    """H100 at nominal voltage: 285 W of MACs, 37 of L1, 69 of L2 and NoC, 65 of DRAM, 12 of its background, 68 static."""
    chip = load_chip(name)
    power = peak_power(chip, "fp16")
    assert 0.75 <= power.watts / tdp_watts(chip) <= 1.10
    assert 0.75 <= power.watts / chip.power.delivery_efficiency / tdp_watts(chip) <= 1.15
    assert power.low < power.watts < power.high
    assert peak_power(chip, "int8").watts < power.watts


def test_peak_power_by_hand() -> None:
    """One core of the H100 with nothing but its arrays and static power counted: what doubling the arrays adds."""
    one, two = (load_chip("h100", [f"core.systolic.cols={cols}", "die.area_mm2=814"]) for cols in (32, 64))
    macs = one.peak_flops("fp16") / 2
    # two cores share what one of the operands needs: it leaves L2 once and is copied once
    fetched = [min(chip.peak_flops("fp16") * (1 / 256 + 1 / 256), chip.l2_bytes_per_second) for chip in (one, two)]
    energy = event_energies(one, "fp16")
    more = macs * energy["matrix_mac"].pj + (fetched[1] - fetched[0]) * (energy["l2_byte"].pj + energy["noc_byte"].pj)
    more += one.peak_flops("fp16") / 256 * energy["noc_copy_byte"].pj
    assert peak_power(two, "fp16").watts - peak_power(one, "fp16").watts == pytest.approx(more * 1e-12)


def test_spads_prefill_chip_exceeds_its_tdp() -> None:
    """1.92 PFLOP/s at 0.81 pJ a MAC are 778 W of MACs alone; the paper's TDP is 596 W."""
    chip = load_chip("spad-prefill")
    assert peak_power(chip, "fp16").low > tdp_watts(chip)
    assert peak_power(load_chip("spad-decode"), "fp16").watts < tdp_watts(load_chip("spad-decode"))


@pytest.mark.parametrize(
    ("name", "stack", "whole"),
    [("h100", (15, 30), (30, 45)), ("spad-decode", (15, 30), (30, 45)), ("a100", (12, 30), (25, 40))],
)
def test_what_a_package_of_hbm_draws_at_full_rate(
    name: str, stack: tuple[float, float], whole: tuple[float, float]
) -> None:
    """HBM3: 670 GB/s x 25.4 pJ/B = 17.0 W, an activation of 803 pJ per KB 0.5 W, refresh 0.8 W, standby 2.5 W: the stack takes
    21 W, where SPAD's rule counts 30 for a package; PHY and controller on the chip's die add 670 GB/s x 34 pJ/B = 22.8 W.

    HBM2E: 408 GB/s x 8 x 9/8 x (4.3 in the stack + 3.1 in PHY and controller) pJ/bit = 27.2 W.
    """
    chip = load_chip(name)
    memory, energy, standard = chip.memory, event_energies(chip, "fp16"), load_standard(chip.memory.standard)
    interface = load_energy_table(chip.energy.table).dram_interface_byte[memory.technology].pj
    refreshing = memory.channels * energy["dram_refresh"].pj / standard.picoseconds("nREFI")
    for (least, most), per_byte in (
        (whole, energy["dram_read_byte"].pj),
        (stack, energy["dram_read_byte"].pj - interface),
    ):
        per_byte += energy["dram_activate"].pj / standard.row_bytes
        streaming = memory.bandwidth_bytes_per_second * per_byte * 1e-12
        assert least <= (streaming + dram_background_watts(chip) + refreshing) / memory.packages <= most


@pytest.mark.parametrize("name", energy_table_names())
def test_every_entry_has_a_source_and_what_the_chip_makes_of_it_is_in_its_range(name: str) -> None:
    table = load_energy_table(name)
    assert table.name == name
    for entry in table.entries:
        assert len(table.entry(entry).source) > 5
    for chip_name in preset_names():
        chip = load_chip(chip_name, [f"energy.table={name}"])
        for dtype in MATRIX_DATATYPES:
            energies = event_energies(chip, dtype)
            assert set(energies) == set(COMPONENT_OF_EVENT)
            for event, energy in energies.items():
                assert 0 < energy.low <= energy.pj <= energy.high, event
        static = static_power(chip)
        assert 0 < static.low < static.watts < static.high < 0.5 * tdp_watts(chip)


@pytest.mark.parametrize("name", energy_table_names())
def test_wider_arithmetic_and_farther_memory_cost_more(name: str) -> None:
    chip = load_chip("h100", [f"energy.table={name}"])
    macs = [event_energies(chip, dtype)["matrix_mac"].pj for dtype in ("int8", "fp8", "bf16", "fp16", "tf32", "fp32")]
    assert macs == sorted(macs)
    energy = event_energies(chip, "fp16")
    levels = [energy[event].pj for event in ("l1_byte", "l2_byte", "noc_byte", "dram_read_byte")]
    assert levels == sorted(levels)


def test_logic_shrinks_and_dram_does_not_depend_on_the_logic_process() -> None:
    n4, n7 = (event_energies(load_chip("h100", [f"energy.table={name}"]), "fp16") for name in ("n4", "n7"))
    for event in COMPONENT_OF_EVENT:
        if event.startswith("dram_") or event == "link_byte":
            assert n4[event] == n7[event]
        else:
            assert 0.6 <= n4[event].pj / n7[event].pj < 1
            assert "from n7 to n4" in n4[event].source


@pytest.mark.parametrize(
    ("override", "grown", "factor"),
    [
        ("core.l1.bytes=1048576", "l1_byte", (1.06 / 0.94)),  # banks of 32 KB instead of 8 KB
        ("core.l1.bank_bytes=8", "l1_byte", 2**-0.3),
        ("l2.bytes_per_cycle_per_slice=128", "l2_byte", 2**-0.3),
        ("l2.bytes=83886080", "l2_byte", (1.75 / 1.06) ** (log(1.6) / log(32))),  # 1 MB a slice; between 32 KB and 1 MB
        ("die.area_mm2=3256", "noc_byte", 2),
        ("memory.standard=hbm3-6400", "dram_activate", None),
    ],
)
def test_energies_follow_capacity_port_and_distance(override: str, grown: str, factor: float | None) -> None:
    before = event_energies(load_chip("h100", ["die.area_mm2=814"]), "fp16")
    fixed_area = [] if override.startswith("die") else ["die.area_mm2=814"]
    after = event_energies(load_chip("h100", [override, *fixed_area]), "fp16")
    changed = {event for event in before if before[event].pj != after[event].pj}
    assert grown in changed
    assert {event.partition("_")[0] for event in changed} == {grown.partition("_")[0]}
    if factor is not None:
        assert after[grown].pj == pytest.approx(factor * before[grown].pj)


def test_padding_costs_less_than_a_product_and_an_instruction_more_than_its_arithmetic() -> None:
    """Lane-FMA of the H100 at nominal voltage: (1.7 + 4.2) x 0.75 + 16 x 0.2 x 0.8 = 6.99 pJ."""
    energy = event_energies(load_chip("h100"), "bf16")
    assert energy["padding_mac"].pj == pytest.approx(0.55 * energy["matrix_mac"].pj)
    assert energy["vector_op"].pj == pytest.approx(5.9 * 0.75 + 3.2 * 0.8)


def test_arrays_and_other_logic_may_scale_apart() -> None:
    """8N: 2.87 for the arrays, 1 for the vector units."""
    n8, n7 = load_energy_table("n8"), load_energy_table("n7")
    assert n8.matrix_mac["fp16"].pj == pytest.approx(2.87 * n7.matrix_mac["fp16"].pj)
    assert n8.instruction_lane.pj == pytest.approx(n7.instruction_lane.pj)


def test_the_refresh_of_a_bank_costs_its_share_of_a_refresh_of_all() -> None:
    all_banks, bank = (load_chip("h100", [f"memory.refresh={mode}"]) for mode in ("all", "bank"))
    banks = load_standard(bank.memory.standard).banks
    shared = event_energies(all_banks, "fp16")["dram_refresh"].pj
    assert event_energies(bank, "fp16")["dram_refresh"].pj * banks == pytest.approx(shared)


def test_an_unknown_entry_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        InputError, match=r"no entry 'vector_ops'; did you mean 'vector_op'\? allowed: matrix_mac.fp32, "
    ):
        load_energy_table("n4").entry("vector_ops")


def test_an_unknown_table_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        InputError, match=r"energy.table = 'n3': no such preset or TOML file; .*allowed: n4, n5, n6, n7, n8"
    ):
        load_energy_table("n3")


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    """A file gets the DRAM sections that it leaves out, keeps those that it has, and is read anew after a change."""
    path = tmp_path / "mine.toml"
    text = (TABLES / "n7.toml").read_text()
    path.write_text(text)
    assert load_energy_table(str(path)) == load_energy_table("n7")
    path.write_text(text.replace("pj = 40.0", "pj = 30.0"))
    own = load_energy_table(str(path))
    assert changed_entries(own, "n7") == ["link_byte"]
    assert own.link_byte.pj == 30.0


def changed_entries(table: EnergyTable, base: str) -> list[str]:
    return [name for name, entry in table.entries.items() if load_energy_table(base).entry(name) != entry]


def test_a_table_that_states_only_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\nbase = "n4"\n[matrix_mac.fp16]\npj = 0.5\nlow = 0.4\nhigh = 0.6\nsource = "test"\n'
        '[link_byte]\npj = 10.0\nlow = 9.0\nhigh = 11.0\nsource = "test"\n'
    )
    table = load_energy_table(str(path))
    assert table.name == "mine"
    assert changed_entries(table, "n4") == ["matrix_mac.fp16", "link_byte"]
    chip = load_chip("h100", [f"energy.table={path}"])
    assert event_energies(chip, "fp16")["matrix_mac"].pj == 0.5
    assert event_energies(chip, "bf16")["matrix_mac"].pj == event_energies(load_chip("h100"), "bf16")["matrix_mac"].pj
    path.write_text(path.read_text().replace("pj = 0.5\n", "pj = 0.55\n"))
    assert event_energies(chip, "fp16")["matrix_mac"].pj == 0.55


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("pj = 0.77\n", "pj = -0.77\n", "matrix_mac.fp16.pj = -0.77: must be greater than or equal to 0"),
        ("pj = 0.77\n", "pj = 7.0\n", r"matrix_mac.fp16 = .*: must have low <= pj <= high, not 0.7 <= 7.0 <= 1.33"),
        ("[vector_op]", "[vector_ops]", r"vector_op is missing \(and 1 more\)"),
        ("pj = [0.94, ", "pj = [94.0, ", r"sram = .*: must have low <= pj <= high at every capacity"),
        (
            "pj = [0.94, ",
            "pj = [",
            r"sram = .*: must have as many capacity_bytes, pj, low and high, not \[5, 4, 5, 5\]",
        ),
        (
            "volts = [0.70, 1.0]",
            "volts = [0.70, 0.6]",
            r"voltage = .*: must have rising hz, and volts that do not fall",
        ),
        (
            "pj = 0.77\n",
            "pj = 0.77\nwatts = 1\n",
            r"matrix_mac.fp16.watts is not a field; allowed: pj, low, high, source",
        ),
        ("pj = 0.77\n", "", "matrix_mac.fp16.pj is missing"),
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
    assert table == EnergyTable.model_validate_json(table.model_dump_json())
