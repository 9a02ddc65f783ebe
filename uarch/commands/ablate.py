"""``uarch ablate``: what each rule of the model buys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from uarch.commands.output import JsonOption, console, emit, percent, progress_bar, table
from uarch.commands.sections import Section

if TYPE_CHECKING:
    from workloads.validation.ablation import Ablation

SECTION = Section.ACCURACY


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(ablate)


def ablate(
    suite: Annotated[
        Literal["gemm", "attention", "elementwise"] | None, typer.Argument(help="One suite; all if left out.")
    ] = None,
    rule: Annotated[list[str] | None, typer.Option("--rule", help="Only this rule. Repeatable.")] = None,
    sample: Annotated[int, typer.Option("--sample", min=1, help="At most so many rows of a suite.")] = 30,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes; if left out, one for each available CPU.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Errors of predicted kernel times without each rule: the built-in suite of `uarch validate`, predicted again."""
    from workloads.settings.mechanisms import ABLATION_SUITES
    from workloads.validation.ablation import ablations, chosen_rules

    suites = [suite] if suite else list(ABLATION_SUITES)
    chosen = chosen_rules(rule or ())
    found: list[Ablation] = []
    with progress_bar(len(chosen) + 1) as show:

        def begin(doing: str) -> None:
            show(doing, len(found))

        for ablation in ablations(suites, chosen, sample=sample, workers=workers, progress=begin):
            found += [ablation]
    payload = {
        "rules": [
            {"rule": ablation.rule, "suites": {name: errors.fields() for name, errors in ablation.suites.items()}}
            for ablation in found
        ]
    }
    emit(payload, as_json, lambda: _render(suites, found))


def _render(suites: Sequence[str], found: Sequence[Ablation]) -> None:
    rows = [
        (
            ablation.rule,
            *(percent(ablation.suites[name].mape) if name in ablation.suites else "" for name in suites),
        )
        for ablation in found
    ]
    console().print(table("Mean error of predicted times without each rule", ("without", *suites), rows))
