"""Points that Optuna proposes from the results of those before: multi-objective search in place of a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from uarch.errors import InputError
from workloads.sweep.design import Point
from workloads.sweep.domain import Domain
from workloads.sweep.evaluation import Row
from workloads.sweep.expressions import Value
from workloads.sweep.promotion import costs_of
from workloads.sweep.schema import Sweep


class Search:
    """A study of Optuna over the parameters of a sweep.

    Proposals depend on the seed and on the results that it was told, in that order: told the same again, it proposes the same.
    """

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        try:
            import optuna
        except ModuleNotFoundError as error:
            raise InputError(
                "sampling.method = 'optimise': needs Optuna; install uarch[optimise], or choose another method"
            ) from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        seed, batch = sweep.sampling.seed, sweep.sampling.batch
        sampler: Any = (
            optuna.samplers.TPESampler(seed=seed, n_startup_trials=batch)
            if sweep.sampling.sampler == "tpe"
            else optuna.samplers.NSGAIISampler(seed=seed, population_size=max(2, batch))
        )
        self._study = optuna.create_study(directions=["minimize"] * len(sweep.objective), sampler=sampler)
        self._failed = optuna.trial.TrialState.FAIL
        self._distributions = {name: _distribution(optuna, domain) for name, domain in sweep.parameter.items()}
        self._trials: dict[int, Any] = {}

    def propose(self, first: int, count: int) -> list[Point]:
        """Return points numbered from ``first``."""
        points = []
        for index in range(first, first + count):
            trial = self._study.ask(self._distributions)
            self._trials[index] = trial
            values = {name: _value(domain, trial.params[name]) for name, domain in self._sweep.parameter.items()}
            points.append(Point(index, values))
        return points

    def tell(self, rows: Sequence[Row]) -> None:
        """Give the results of points that were proposed; those without result count as failed."""
        for row in sorted(rows, key=lambda row: row.point):
            trial = self._trials.pop(row.point)
            if row.status == "done":
                self._study.tell(trial, costs_of(self._sweep, row))
            else:
                self._study.tell(trial, state=self._failed)


def _distribution(optuna: Any, domain: Domain) -> Any:
    """Place in a continuous range, number of an ordered value, or the text itself."""
    levels = domain.levels()
    if levels is None:
        return optuna.distributions.FloatDistribution(0.0, 1.0)
    if any(isinstance(level, str | bool) for level in levels):
        return optuna.distributions.CategoricalDistribution(levels)
    return optuna.distributions.IntDistribution(0, len(levels) - 1)


def _value(domain: Domain, proposed: Any) -> Value:
    levels = domain.levels()
    if levels is None:
        return domain.at(float(proposed))
    if any(isinstance(level, str | bool) for level in levels):
        value: Value = proposed
        return value
    return levels[int(proposed)]
