"""Ablations: how far off predictions of the built-in suite are without each rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from results.analysis.error_statistics import ErrorStatistics, error_statistics
from uarch.chip_file import load_chip
from uarch.errors import InputError, unknown_name
from workloads.settings.mechanisms import AblationSuite, Mechanism, all_mechanisms
from workloads.validation.cases import Case
from workloads.validation.suite import BUILT_IN, Plan, Selection, plan_validation

REPORTED_ONLY = frozenset({"mi210"})
"""Chips left out of ablations: what holds the MI210's library back is none of the rules."""

ALL_RULES = "all rules"
"""Name of the ablation that takes nothing away."""


@dataclass(frozen=True)
class Ablation:
    """Errors without a rule (with all of them for ``ALL_RULES``), of each suite that it can matter to."""

    rule: str
    suites: dict[str, ErrorStatistics]


def rules() -> list[Mechanism]:
    """Rules that predictions of measured kernels rest on: the mechanisms that some suite depends on."""
    return [mechanism for mechanism in all_mechanisms() if mechanism.suites]


def chosen_rules(names: Sequence[str]) -> list[Mechanism]:
    """Rules by name, all if none is named; raises :class:`uarch.InputError` for an unknown name."""
    known = {rule.name: rule for rule in rules()}
    for name in names:
        if name not in known:
            raise InputError(f"rule {name!r}: not known; {unknown_name(name, list(known))}")
    return [known[name] for name in names] if names else list(known.values())


def ablations(
    suites: Sequence[AblationSuite],
    chosen: Sequence[Mechanism],
    *,
    sample: int | None = None,
    workers: int | None = None,
    progress: Callable[[str], None] = lambda doing: None,
) -> Iterator[Ablation]:
    """Yield errors on the built-in suite with all rules, then without each of ``chosen``.

    At most ``sample`` rows of a suite are predicted. ``progress`` is called with the name of the rule that is taken away next.
    """
    plans = {suite: _plan(suite, sample) for suite in suites}

    def judged(name: str, rule: Mechanism | None) -> Ablation:
        progress(name)
        concerned = [suite for suite in suites if rule is None or suite in rule.suites]
        return Ablation(name, {suite: _errors(without(plans[suite], rule), workers) for suite in concerned})

    yield judged(ALL_RULES, None)
    for rule in chosen:
        if not set(suites).isdisjoint(rule.suites):
            yield judged(rule.name, rule)


def without(plan: Plan, rule: Mechanism | None) -> Plan:
    """Plan the prediction of the same rows without a rule."""
    if rule is None:
        return plan
    chips = {name: load_chip(name, rule.overrides(chip)) for name, chip in plan.chips.items()}
    return Plan([_changed(case, rule.request) for case in plan.cases], chips)


def _changed(case: Case, fields: dict[str, str | bool]) -> Case:
    present: dict[str, Any] = {name: value for name, value in fields.items() if hasattr(case.request, name)}
    return replace(case, request=replace(case.request, **present))


def _plan(suite: AblationSuite, sample: int | None) -> Plan:
    plan = plan_validation(BUILT_IN, Selection(suite))
    cases = [case for case in plan.cases if case.chip not in REPORTED_ONLY]
    if sample is not None:
        cases = cases[:: -(-len(cases) // sample)]
    used = {case.chip for case in cases}
    return Plan(cases, {name: chip for name, chip in plan.chips.items() if name in used})


def _errors(plan: Plan, workers: int | None) -> ErrorStatistics:
    judged = plan.judge(workers=workers)
    return error_statistics([row.predicted_seconds for row in judged], [row.case.measured_seconds for row in judged])
