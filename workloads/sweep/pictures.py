"""Pictures of a sweep's table: fronts, parallel coordinates, maps over two parameters, and what each parameter explains."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from results.plots.of_arrays import front, parallel_coordinates, shares, value_map
from uarch.errors import InputError
from workloads.sweep.table import SweepTable


def pareto_figure(table: SweepTable, x: str | None = None, y: str | None = None) -> Figure:
    """Draw the rows that are done in the plane of two results, by default the first two objectives.

    Points that the file lists carry their names. :class:`uarch.InputError` for a column that does not exist or is a text.
    """
    objectives = [each.column for each in table.sweep.objective]
    first = x or objectives[0]
    second = y or next((name for name in objectives if name != first), table.inputs[0])
    rows = np.flatnonzero(table.done())
    _check_some(table, len(rows))
    points = table.rows["point"][rows].astype(int)
    listed = table.sweep.point
    named = [
        (number, ", ".join(map(str, listed[point].values())))
        for number, point in enumerate(points)
        if point < len(listed)
    ]
    axes = [front.Axis(name, _numbers(table, name)[rows], _is_cost(table, name)) for name in (first, second)]
    return front.plot(table.sweep.title, axes[0], axes[1], named)


def parallel_figure(table: SweepTable) -> Figure:
    """Draw the rows that are done as lines through all parameters and objectives, the front in colour."""
    rows = np.flatnonzero(table.done())
    _check_some(table, len(rows))
    names = [*table.parameters, *(each.column for each in table.sweep.objective)]
    columns = {name: table.column(name)[rows] for name in dict.fromkeys(names)}
    return parallel_coordinates.plot(table.sweep.title, columns, table.front()[rows])


def heatmap_figure(table: SweepTable, x: str | None = None, y: str | None = None, result: str | None = None) -> Figure:
    """Draw the mean of a result over all values of two inputs, by default the first objective over the first two inputs."""
    inputs = [name for name in table.parameters if len(np.unique(table.rows[name][table.done()])) > 1]
    if len(inputs) < 2 and (x is None or y is None):
        raise InputError(f"kind = 'heatmap': needs two parameters that vary, {table.sweep.name} has {len(inputs)}")
    first = x or inputs[0]
    second = y or next(name for name in inputs if name != first)
    shown = result or table.sweep.objective[0].column
    done = table.done()
    _check_some(table, int(done.sum()))
    columns, column = np.unique(table.column(first)[done], return_inverse=True)
    rows, row = np.unique(table.column(second)[done], return_inverse=True)
    shape = (len(rows), len(columns))
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (row.reshape(-1), column.reshape(-1)), _numbers(table, shown)[done])
    np.add.at(counts, (row.reshape(-1), column.reshape(-1)), 1)
    means = np.divide(sums, counts, out=np.full(shape, np.nan), where=counts > 0)
    title = f"{table.sweep.title}: mean of {shown}"
    return value_map.plot(title, means, (second, rows.tolist()), (first, columns.tolist()), shown)


def sensitivity_figure(table: SweepTable, result: str | None = None) -> Figure:
    """Draw the share of the variance of a result, by default the first objective, that each input explains alone."""
    shown = result or table.sweep.objective[0].column
    found = table.sensitivities(shown)
    _check_some(table, len(found))
    label = "share of the variance that the parameter explains alone"
    return shares.plot(f"{table.sweep.title}: {shown}", {name: each.first_order for name, each in found.items()}, label)


def _numbers(table: SweepTable, name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    values = table.column(name)
    if values.dtype.kind != "f":
        raise InputError(f"{name}: is a text; allowed: a column of numbers")
    return values


def _is_cost(table: SweepTable, name: str) -> bool:
    return all(each.sign > 0 for each in table.sweep.objective if each.column == name)


def _check_some(table: SweepTable, count: int) -> None:
    if count == 0:
        raise InputError(f"sweep {table.sweep.name}: no point is done that could be drawn; `uarch sweep show` says why")
