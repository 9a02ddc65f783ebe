"""Pictures of a table: front, value_map, parallel_coordinates and shares of :mod:`results.plots.of_arrays`."""

from __future__ import annotations

from pathlib import Path

import pytest

from results.plots.style import save
from tests.support.small_sweep import static_sweep
from uarch.errors import InputError
from workloads.sweep.execution import run_sweep
from workloads.sweep.pictures import heatmap_figure, parallel_figure, pareto_figure, sensitivity_figure
from workloads.sweep.table import SweepTable

pytestmark = pytest.mark.once("files and formulas: nothing is jitted")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> SweepTable:
    path = tmp_path_factory.mktemp("pictures") / "a.h5"
    return run_sweep(static_sweep(point=[{"chip": "a100"}]), path, workers=1)


def test_a_front_shows_each_design_and_the_names_of_listed_ones(table: SweepTable, tmp_path: Path) -> None:
    figure = pareto_figure(table)
    axes = figure.axes[0]
    assert sum(len(line.get_xdata()) for line in axes.lines if line.get_linestyle() == "None") == 10 + 1
    assert [text.get_text() for text in axes.texts] == ["a100"]
    assert axes.get_ylabel() == "size, higher is better"
    save(figure, tmp_path / "front.png")


def test_a_map_has_the_mean_of_each_cell(table: SweepTable, tmp_path: Path) -> None:
    figure = heatmap_figure(table, x="core.count", y="l2.bytes", result="die_area_mm2")
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert len(shown) == 10, "nine of the grid, and the listed chip"
    assert f"{table.rows['die_area_mm2'][1]:.3g}" in shown
    save(figure, tmp_path / "map.png")


def test_parallel_coordinates_have_an_axis_for_each_parameter_and_objective(table: SweepTable, tmp_path: Path) -> None:
    figure = parallel_figure(table)
    shown = [label.get_text().replace("\n", "") for label in figure.axes[0].get_xticklabels()]
    assert shown == ["core.count", "l2.bytes", "die_area_mm2", "size"]
    save(figure, tmp_path / "parallel.png")


def test_shares_are_those_of_the_table(table: SweepTable, tmp_path: Path) -> None:
    figure = sensitivity_figure(table)
    widths = [patch.get_width() for patch in figure.axes[0].patches]
    assert widths == [each.first_order for each in table.sensitivities("die_area_mm2").values()]
    save(figure, tmp_path / "shares.png")


def test_a_column_of_texts_cannot_be_drawn(table: SweepTable) -> None:
    with pytest.raises(InputError, match="status: is a text"):
        pareto_figure(table, x="status")
