"""Standards: consistent tables, units, and messages for wrong ones."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from uarch.dram.controller.timing import COMMANDS, delays_in_ticks
from uarch.dram.standards.standard import load_standard, standard_names
from uarch.errors import InputError

HBM3 = (resources.files("uarch.dram") / "standards" / "hbm3-6400.toml").read_text("utf-8")
REQUIRED = {
    "hbm2-2000", "hbm2e-3200", "hbm3-5200", "hbm3-6400", "hbm4-8000", "gddr6-14000", "gddr6x-21000", "gddr7-28000",
    "gddr7-32000", "lpddr5x-8533", "ddr5-5600", "dramsim3-hbm2", "dramsim3-gddr6",
}  # fmt: skip


def test_all_required_standards_are_there() -> None:
    assert set(standard_names()) >= REQUIRED


@pytest.mark.parametrize("name", standard_names())
def test_name_gives_the_peak_bandwidth(name: str) -> None:
    """Mb/s per pin times the width is what bursts every nCCD_S move; DRAMsim3's tables have no pin rate in the name."""
    standard = load_standard(name)
    rate = name.rsplit("-", 1)[1]
    if rate.isdigit() and not name.startswith("dramsim3"):
        expected = int(rate) * 1e6 * standard.organisation.width_bits / 8
        assert standard.bytes_per_second == pytest.approx(expected, rel=4e-3)


@pytest.mark.parametrize("name", standard_names())
def test_times_are_ordered_as_in_any_dram(name: str) -> None:
    timing = load_standard(name).timing
    assert timing.nRC >= timing.nRAS + timing.nRP - 1
    assert timing.nRAS >= timing.nRCDRD
    assert timing.nCCD_L >= timing.nCCD_S
    assert timing.nRRD_L >= timing.nRRD_S
    assert timing.nWTR_L >= timing.nWTR_S
    assert timing.nREFI > timing.nRFCab >= timing.nRFCpb


def test_sizes_and_picoseconds_of_hbm3() -> None:
    standard = load_standard("hbm3-6400")
    assert (standard.banks, standard.row_bytes, standard.burst_bytes) == (32, 1024, 32)
    assert standard.bytes_per_second == pytest.approx(25.6e9)
    assert standard.tick_ns == 0.3125
    assert standard.picoseconds("nRCD") == 31 * 625
    with pytest.raises(KeyError):
        standard.picoseconds("nothing")


def test_constraints_count_from_last_tick_to_last_tick() -> None:
    """HBM3: nRCDRD = 31 clocks of 2 ticks; an activate lasts 3 ticks, a read 2: 62 + 2 - 1 = 63 between the starts."""
    in_bank = delays_in_ticks(load_standard("hbm3-6400"))[:, 0]
    assert in_bank[COMMANDS.index("ACT"), COMMANDS.index("RD")] == 63
    assert in_bank[COMMANDS.index("PRE"), COMMANDS.index("ACT")] == 2 * 26 - 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("nCL = 20", "nCL = 0", "timing.nCL"),
        ("nCL = 20", "nCL = 20\nnCX = 20", "timing.nCX"),
        ("rows = 16384", "rows = 16000", "rows = 16000: must be a power of two"),
        ("burst_bytes = 32", "burst_bytes = 64", "width_bits"),
        ("IDD0 = [76, 114]", "IDD0 = [1, 2]", "assumed.IDD0"),
        ("nCL = 20", "nCL = ", "not valid TOML"),
        ("nCL = 20", "nCL = 2.5", "standard mine: timing.nCL = 2.5: must be a valid integer$"),
        ('technology = "hbm3"', 'technology = "hbm33"', "technology = 'hbm33': no such preset.* did you mean 'hbm3'"),
        ('technology = "hbm3"', "", "standard mine: technology is missing"),
    ],
)
def test_wrong_tables_are_refused_with_the_field(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in HBM3
    path = tmp_path / "mine.toml"
    path.write_text(HBM3.replace(old, new))
    with pytest.raises(InputError, match=message) as error:
        load_standard(str(path))
    assert "\n" not in str(error.value)


def test_a_standard_of_ones_own_is_read_from_its_path_and_anew_after_a_change(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(HBM3)
    assert load_standard(str(path)) == load_standard("hbm3-6400").model_copy(update={"name": "mine"})
    path.write_text(HBM3.replace("nCL = 20", "nCL = 200"))
    assert load_standard(str(path)).timing.nCL == 200


def test_unknown_standard_names_the_allowed_ones() -> None:
    with pytest.raises(InputError, match=r"hbm9.*hbm3-6400"):
        load_standard("hbm9")
