"""Points of a space: full grids, one parameter at a time, Latin hypercubes and random samples."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod

import numpy as np
import numpy.typing as npt
from scipy.stats import qmc

from uarch.errors import InputError
from workloads.sweep.design import Point
from workloads.sweep.domain import Domain
from workloads.sweep.expressions import Value
from workloads.sweep.schema import MOST_POINTS, Sweep


def given_points(sweep: Sweep) -> list[Point]:
    """Points that the file lists, numbered from 0."""
    return [Point(index, dict(values), is_given=True) for index, values in enumerate(sweep.point)]


def planned_points(sweep: Sweep) -> list[Point]:
    """All points in a fixed order: those that the file lists, then the sampled ones.

    Method ``optimise`` has none of the latter: what it proposes depends on results.

    Raises
    ------
    InputError
        A continuous parameter in a grid, or a grid of more than ``MOST_POINTS``.
    """
    listed = given_points(sweep)
    samples = _sampled(sweep) if sweep.parameter else iter(())
    return listed + [Point(index, values) for index, values in enumerate(samples, start=len(listed))]


def _sampled(sweep: Sweep) -> Iterator[dict[str, Value]]:
    match sweep.sampling.method:
        case "grid":
            return _grid(sweep.parameter)
        case "one-at-a-time":
            return _one_at_a_time(sweep.parameter)
        case "latin-hypercube" | "random":
            return _at_places(sweep)
        case "optimise":
            return iter(())


def _grid(parameters: dict[str, Domain]) -> Iterator[dict[str, Value]]:
    """Every combination, the last parameter varying fastest."""
    levels = [_levels(name, domain) for name, domain in parameters.items()]
    size = prod(map(len, levels))
    if size > MOST_POINTS:
        raise InputError(f"sampling.method = 'grid': {size} points; allowed: at most {MOST_POINTS}")
    return (dict(zip(parameters, values, strict=True)) for values in product(*levels))


def _one_at_a_time(parameters: dict[str, Domain]) -> Iterator[dict[str, Value]]:
    """The chip as it is, then each value of each parameter alone."""
    yield {}
    for name, domain in parameters.items():
        for value in _levels(name, domain):
            yield {name: value}


def _at_places(sweep: Sweep) -> Iterator[dict[str, Value]]:
    """Values at places of the unit cube that the seed determines."""
    for row in _places(sweep):
        yield {
            name: domain.at(float(place)) for (name, domain), place in zip(sweep.parameter.items(), row, strict=True)
        }


def _places(sweep: Sweep) -> npt.NDArray[np.float64]:
    """Places in the unit cube; float64 ``(points, parameters)``."""
    sampling = sweep.sampling
    assert sampling.points is not None
    generator = np.random.default_rng(sampling.seed)
    if sampling.method == "random":
        return generator.random((sampling.points, len(sweep.parameter)))
    places: npt.NDArray[np.float64] = qmc.LatinHypercube(len(sweep.parameter), rng=generator).random(sampling.points)
    return places


def _levels(name: str, domain: Domain) -> tuple[Value, ...]:
    levels = domain.levels()
    if levels is None:
        raise InputError(f"parameter {name}: is continuous; for a grid it must have count or step")
    return levels
