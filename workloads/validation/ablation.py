"""What each rule buys: the built-in suite predicted once more without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from results.analysis.error_statistics import ErrorStatistics, error_statistics
from uarch.chip_file import load_chip
from uarch.errors import InputError
from uarch.files.reading import read_toml, unknown_name, validate
from workloads.validation.cases import Case
from workloads.validation.suite import BUILT_IN, Plan, Selection, plan_validation

_FILE = Path(__file__).with_name("ablations.toml")

Suite = Literal["gemm", "attention", "elementwise"]
SUITES: tuple[Suite, ...] = get_args(Suite)

REPORTED_ONLY = frozenset({"mi210"})
"""Chips that no rule is judged by: what holds the MI210's library back is none of them."""

ALL_RULES = "all rules"


class Rule(BaseModel):
    """A rule, and how predictions are made without it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=80)]
    suites: Annotated[tuple[Suite, ...], Field(min_length=1)]
    set: tuple[str, ...] = ()
    """``field=value`` of every chip."""
    request: dict[str, str | bool] = {}
    """Fields of the rows' requests (:mod:`workloads.validation.requests`) that have them."""

    @model_validator(mode="after")
    def _changes_something(self) -> Rule:
        if not self.set and not self.request:
            raise ValueError("must have set or request")
        return self


class _Rules(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Ablation:
    """Errors without a rule (with all of them for ``ALL_RULES``), of each suite that it can matter to."""

    rule: str
    suites: dict[str, ErrorStatistics]


@cache
def rules() -> tuple[Rule, ...]:
    """All rules that can be taken away."""
    return validate(_Rules, read_toml(_FILE), _FILE.name).rules


def chosen_rules(names: Sequence[str]) -> list[Rule]:
    """Rules by name, all if none is named; ``InputError`` for an unknown name."""
    known = {rule.name: rule for rule in rules()}
    for name in names:
        if name not in known:
            raise InputError(f"rule {name!r}: not known; {unknown_name(name, list(known))}")
    return [known[name] for name in names] if names else list(known.values())


def ablations(
    suites: Sequence[Suite],
    chosen: Sequence[Rule],
    *,
    sample: int | None = None,
    workers: int | None = None,
    progress: Callable[[str], None] = lambda doing: None,
) -> Iterator[Ablation]:
    """Errors on the built-in suite with all rules, then without each of ``chosen``; at most ``sample`` rows of a suite."""
    plans = {suite: _plan(suite, sample) for suite in suites}

    def judged(name: str, rule: Rule | None) -> Ablation:
        progress(name)
        concerned = [suite for suite in suites if rule is None or suite in rule.suites]
        return Ablation(name, {suite: _errors(without(plans[suite], rule), workers) for suite in concerned})

    yield judged(ALL_RULES, None)
    for rule in chosen:
        if not set(suites).isdisjoint(rule.suites):
            yield judged(rule.name, rule)


def without(plan: Plan, rule: Rule | None) -> Plan:
    """The same rows, predicted without a rule."""
    if rule is None:
        return plan
    chips = {name: load_chip(name, rule.set) for name in plan.chips}
    return Plan([_changed(case, rule.request) for case in plan.cases], chips)


def _changed(case: Case, fields: dict[str, str | bool]) -> Case:
    present: dict[str, Any] = {name: value for name, value in fields.items() if hasattr(case.request, name)}
    return replace(case, request=replace(case.request, **present))


def _plan(suite: Suite, sample: int | None) -> Plan:
    plan = plan_validation(BUILT_IN, Selection(suite))
    cases = [case for case in plan.cases if case.chip not in REPORTED_ONLY]
    if sample is not None:
        cases = cases[:: -(-len(cases) // sample)]
    used = {case.chip for case in cases}
    return Plan(cases, {name: chip for name, chip in plan.chips.items() if name in used})


def _errors(plan: Plan, workers: int | None) -> ErrorStatistics:
    judged = plan.judge(workers=workers)
    return error_statistics([row.predicted_seconds for row in judged], [row.case.measured_seconds for row in judged])
