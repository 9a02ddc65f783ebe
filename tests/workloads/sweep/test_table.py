from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.small_sweep import static_sweep
from uarch.errors import InputError
from workloads.sweep.evaluation import Job, Row, run_job
from workloads.sweep.sampling import planned_points
from workloads.sweep.table import read_sweep, resumed_rows, write_table

pytestmark = pytest.mark.once("files and formulas: nothing is jitted")
SWEEP = static_sweep(
    parameter={"memory.technology": {"values": ["hbm3", "gddr7"]}, "core.count": {"values": [66, 99]}},
    constraints=["core.count < 99"],
)


def rows() -> list[Row]:
    return [run_job(Job(SWEEP, point, "analytical")) for point in planned_points(SWEEP)]


def test_rows_come_back_and_give_the_same_file_in_any_order(tmp_path: Path) -> None:
    made = rows()
    write_table(tmp_path / "a.h5", SWEEP, made)
    again = resumed_rows(tmp_path / "a.h5", SWEEP)
    assert [row.key for row in again] == [row.key for row in made]
    assert [row.message for row in again] == [row.message for row in made]
    assert again[0].inputs == made[0].inputs
    write_table(tmp_path / "b.h5", SWEEP, reversed(again))
    assert (tmp_path / "b.h5").read_bytes() == (tmp_path / "a.h5").read_bytes()


def test_a_failed_point_has_a_message_and_no_numbers(tmp_path: Path) -> None:
    write_table(tmp_path / "a.h5", SWEEP, rows())
    table = read_sweep(tmp_path / "a.h5")
    assert table.column("status").tolist() == ["done", "excluded", "failed", "excluded"]
    assert "memory.technology" in table.column("message")[2]
    assert np.isnan(table.column("die_area_mm2")[2])
    assert table.front().tolist() == [True, False, False, False]


def test_another_sweep_s_file_is_refused_in_one_line(tmp_path: Path) -> None:
    write_table(tmp_path / "a.h5", SWEEP, rows())
    other = SWEEP.model_copy(update={"name": "other"})
    with pytest.raises(InputError, match="of another sweep, small; allowed: another output, or --restart") as caught:
        resumed_rows(tmp_path / "a.h5", other)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89HDF\r\n\x1a\n"])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(InputError, match="not the table of a sweep"):
        read_sweep(tmp_path / "a.h5")
    with pytest.raises(InputError, match="no such file"):
        read_sweep(tmp_path / "b.h5")


def test_pandas_and_parquet_have_every_column(tmp_path: Path) -> None:
    pandas, parquet = pytest.importorskip("pandas"), pytest.importorskip("pyarrow.parquet")
    write_table(tmp_path / "a.h5", SWEEP, rows())
    table = read_sweep(tmp_path / "a.h5")
    frame = table.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == list(table.names)
    table.to_parquet(tmp_path / "a.parquet")
    assert parquet.read_table(tmp_path / "a.parquet").column_names == list(table.names)


def test_a_column_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "a.h5", SWEEP, rows())
    with pytest.raises(InputError, match=r"die: no column of this sweep; allowed: .*die_area_mm2"):
        read_sweep(tmp_path / "a.h5").column("die")
