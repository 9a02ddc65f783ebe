"""The names that ``import uarch`` offers."""

from __future__ import annotations

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


def test_other_names_do_not_exist() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = uarch.nonsense
