"""Ablations: every rule can be taken away from every chip, and taking it away changes what is predicted."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from kernels.mapping.tile_menu import library_menu
from uarch.chip_file import load_chip
from uarch.cli import run
from uarch.errors import InputError
from workloads.settings.mechanisms import ABLATION_SUITES, Mechanism
from workloads.validation import requests
from workloads.validation.ablation import ablations, chosen_rules, rules, without
from workloads.validation.suite import BUILT_IN, Selection, plan_validation

pytestmark = pytest.mark.once("studies of many runs")

REQUESTS = {
    "gemm": requests.GemmRequest,
    "attention": requests.AttentionRequest,
    "elementwise": requests.VectorRequest,
}


def test_rules_have_names_of_their_own() -> None:
    assert len({rule.name for rule in rules()}) == len(rules())


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.name)
def test_a_rule_changes_rows_of_each_of_its_suites(rule: Mechanism) -> None:
    for suite in rule.suites:
        names = {field.name for field in fields(REQUESTS[suite])}
        assert rule.set or names & rule.request.keys()
        plan = plan_validation(BUILT_IN, Selection(suite))
        ablated = without(plan, rule)
        assert len(ablated.cases) == len(plan.cases)
        changed_chips = any(ablated.chips[name] != chip for name, chip in plan.chips.items())
        assert changed_chips or [case.request for case in ablated.cases] != [case.request for case in plan.cases]


def test_without_a_rule_other_things_stay() -> None:
    plan = plan_validation(BUILT_IN, Selection("gemm"))
    (rule,) = chosen_rules(["K and caches split over blocks"])
    ablated = without(plan, rule)
    assert ablated.cases == plan.cases
    assert ablated.chips["h100"] == load_chip("h100", ["menu=unsplit"])


def test_menus_differ_in_what_they_say() -> None:
    library, unsplit = library_menu(), library_menu("unsplit")
    assert unsplit.products.tiles == library.products.tiles
    assert unsplit.products.splits == (1,)
    assert unsplit.attention == library.attention.model_copy(update={"most_splits": 1})


@pytest.mark.parametrize("base", ["base = 'nothing'", "base = 3", "[products]\ntiles = []"])
def test_a_menu_without_a_base_is_refused(base: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("menus") / "mine.toml"
    path.write_text(base, encoding="utf-8")
    with pytest.raises(InputError, match="menu"):
        library_menu(str(path))


def test_unknown_rules_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'inline ECC'"):
        chosen_rules(["inline EC"])


def test_the_command_says_what_ablations_say(capsys: pytest.CaptureFixture[str]) -> None:
    name = "start of kernels"
    options = ("--rule", name, "--sample", "2", "--workers", "1", "--json")
    assert run(["ablate", "elementwise", *options]) == 0
    table = json.loads(capsys.readouterr().out)["rules"]
    found = list(ablations(["elementwise"], chosen_rules([name]), sample=2, workers=1))
    assert [row["rule"] for row in table] == ["all rules", name]
    for row, ablation in zip(table, found, strict=True):
        assert row["suites"] == {suite: errors.fields() for suite, errors in ablation.suites.items()}
        assert list(row["suites"]) == ["elementwise"]
        assert row["suites"]["elementwise"]["rows"] == 2
    assert table[0]["suites"]["elementwise"]["bias"] > table[1]["suites"]["elementwise"]["bias"]
    assert set(REQUESTS) == set(ABLATION_SUITES)
