"""The names that ``import uarch`` offers."""

from __future__ import annotations

import doctest
import inspect
import re
from pathlib import Path

import pytest

import uarch

PUBLIC = {
    "Chip": "uarch.chip.schema",
    "InputError": "uarch.errors",
    "Trace": "results.trace.trace",
    "check": "results.analysis.invariants",
    "difference": "results.analysis.diff",
    "execute": "uarch.engine.execute",
    "export_trace": "results.exports.writing",
    "llmcompass_chip": "uarch.importers.llmcompass",
    "load_chip": "uarch.chip_file",
    "load_model": "workloads.models.presets",
    "load_suite": "workloads.bench.suite",
    "plot": "results.plots.catalogue",
    "read_sweep": "workloads.sweep.table",
    "run_sweep": "workloads.sweep.execution",
    "save": "results.plots.style",
    "scalesim_chip": "uarch.importers.scalesim",
    "simulate": "workloads.running.runner",
    "simulate_channel": "uarch.dram.replay.channel",
    "simulate_attention": "workloads.single.attention",
    "simulate_gemm": "workloads.single.gemm",
    "study": "workloads.bench.study",
    "write_report": "results.report.page",
}


def test_all_is_what_is_documented() -> None:
    assert sorted(uarch.__all__) == sorted([*PUBLIC, "__version__"])
    assert set(uarch.__all__) <= set(dir(uarch))
    assert uarch.__version__[0].isdigit()


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_the_one_of_its_module(name: str) -> None:
    assert getattr(uarch, name).__module__ == PUBLIC[name]
    assert getattr(uarch, name).__doc__


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_says_what_it_takes_and_gives(name: str) -> None:
    """Sections as numpydoc has them, with the parameters of the signature."""
    public = getattr(uarch, name)
    documentation = inspect.getdoc(public) or ""
    assert "\nExamples\n--------\n>>> import uarch\n" in documentation.replace(
        ">>> import json, uarch", ">>> import uarch"
    )
    if inspect.isclass(public):
        return
    code = inspect.unwrap(public).__code__
    count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    described = re.search(r"\nParameters\n-+\n(.*?)(\n\n\w+\n-|$)", documentation, flags=re.DOTALL)
    assert described
    names = [word for line in re.findall(r"^(\S.*)$", described[1], flags=re.MULTILINE) for word in line.split(", ")]
    assert sorted(name.lstrip("*") for name in names) == sorted(code.co_varnames[:count])
    gives = inspect.signature(public).return_annotation not in (None, "None")
    assert ("\nReturns\n-------\n" in documentation) == gives


@pytest.mark.once("examples of documentation: nothing of them depends on how kernels are executed")
@pytest.mark.parametrize("name", PUBLIC)
def test_examples_of_a_public_name_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (examples,) = doctest.DocTestFinder(recurse=False).find(getattr(uarch, name), name, globs={})
    assert examples.examples
    assert doctest.DocTestRunner().run(examples).failed == 0


def test_other_names_do_not_exist() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = uarch.nonsense
