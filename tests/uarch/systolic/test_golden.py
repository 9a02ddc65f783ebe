"""The array model without overlap against runs of SCALE-Sim 3.0.0, see tests/golden/README.md."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tests.support.golden import golden_rows
from uarch.errors import InputError
from uarch.systolic.cycles import Dataflow, Overlap, SystolicArray, tile_cycles
from uarch.systolic.report import report, step_of_rate
from uarch.systolic.scalesim import compute_report, run_layer
from uarch.systolic.scalesim_files import Config, Layer

PUBLISHED = [
    # F * (2R + C + T - 2) - 1 and F * (R + C + T - 2) - 1 by hand, with F = ceil(Sr / R) * ceil(Sc / C)
    (Dataflow.OS, 16, 16, (16, 16, 16), 1 * (16 + 16 + 16 - 2) - 1),
    (Dataflow.WS, 16, 16, (17, 33, 65), 5 * 3 * (32 + 16 + 17 - 2) - 1),
    (Dataflow.IS, 32, 32, (17, 33, 65), 3 * 1 * (64 + 32 + 33 - 2) - 1),
]


ROWS = golden_rows("systolic.csv", "systolic/golden.csv")


def _array(row: dict[str, str]) -> SystolicArray:
    dataflow = Dataflow[row["dataflow"].upper()]
    return SystolicArray(int(dataflow), int(row["rows"]), int(row["cols"]), overlap=int(Overlap.NONE))


@pytest.mark.parametrize(("dataflow", "rows", "cols", "shape", "last_cycle"), PUBLISHED)
def test_last_cycle_by_hand(
    dataflow: Dataflow, rows: int, cols: int, shape: tuple[int, int, int], last_cycle: int
) -> None:
    array = SystolicArray(int(dataflow), rows, cols, overlap=int(Overlap.NONE))
    assert report(array, *shape).last_cycle_index == last_cycle


def test_every_golden_row_is_reproduced_exactly() -> None:
    assert len(ROWS) > 20
    for row in ROWS:
        result = report(_array(row), int(row["M"]), int(row["N"]), int(row["K"]))
        assert result.last_cycle_index == int(row["total_cycles"]), row
        assert 100 * result.mapping_efficiency == float(row["map_eff_pct"]), row
        assert 100 * result.utilization == pytest.approx(float(row["util_pct"]), rel=1e-15, abs=0), row


def test_scalesim_run_reproduces_every_golden_row() -> None:
    for row in ROWS:
        array = _array(row)
        sram = (65536 * 1024,) * 3
        config = Config(array.rows, array.cols, Dataflow(array.dataflow), sram, None, False)
        made = run_layer(config, Layer("x", int(row["M"]), int(row["N"]), int(row["K"])))
        columns = compute_report([made]).splitlines()[1].split(", ")
        assert [int(columns[2]), int(columns[3])] == [int(row["total_cycles"]), int(row["stall_cycles"])], row
        assert float(columns[4]) == float(row["util_pct"]), row
        assert float(columns[5]) == float(row["map_eff_pct"]), row


def test_rate_changes_steps_not_their_number() -> None:
    """Eight fp8 products along k are four steps of two; an fp32 step lasts four cycles."""
    fp16 = SystolicArray(int(Dataflow.OS), 4, 4)
    twice, slow = fp16._replace(k_per_step=2), fp16._replace(cycles_per_step=4)
    assert tile_cycles(twice, 4, 4, 8) == tile_cycles(fp16, 4, 4, 4) == 4 + 4 + 4 - 2
    assert tile_cycles(slow, 4, 4, 8) == 4 * tile_cycles(fp16, 4, 4, 8)
    assert step_of_rate(Fraction(2)) == (2, 1)
    assert step_of_rate(Fraction(1, 4)) == (1, 4)
    with pytest.raises(InputError, match="macs_per_pe_cycle"):
        step_of_rate(Fraction(0))


def test_utilization_is_never_above_one_in_own_cycles() -> None:
    """SCALE-Sim divides by the index of the last cycle, which is one less than the number of cycles."""
    one_pe = SystolicArray(int(Dataflow.OS), 1, 1, overlap=int(Overlap.NONE))
    result = report(one_pe, 1, 1, 5)
    assert result.cycles == 5
    assert result.pe_utilization == 1
    assert result.utilization == 5 / 4
    assert report(one_pe, 1, 1, 1).utilization == 1


def test_bytes_follow_from_accesses() -> None:
    """2 x 3 x 4 on one fold of WS: A 8, B 12 fp16 elements in, 6 fp32 sums out."""
    result = report(SystolicArray(int(Dataflow.WS), 4, 4), 2, 3, 4, element_bits=16)
    assert result.l1_read_bytes == (8 + 12) * 2
    assert result.l1_write_bytes == 6 * 4
    assert result.macs == 24


@pytest.mark.parametrize("field", ["rows", "cols", "mac_stages"])
def test_sizes_below_one_are_refused(field: str) -> None:
    array = SystolicArray(int(Dataflow.WS), 4, 4)._replace(**{field: 0})
    with pytest.raises(InputError, match=f"{field} = 0: must be"):
        report(array, 1, 1, 1)
    with pytest.raises(InputError, match="k = -1: must be"):
        report(SystolicArray(int(Dataflow.WS), 4, 4), 1, 1, -1)
