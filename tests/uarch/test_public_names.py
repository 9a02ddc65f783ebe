"""The names that ``import uarch`` offers."""

from __future__ import annotations

import pytest

import uarch

PUBLIC = {
    "Chip": "uarch.chip",
    "InputError": "uarch.errors",
    "Trace": "results.trace",
    "check": "results.invariants",
    "difference": "results.diff",
    "execute": "uarch.engine",
    "export_trace": "results.exports.writing",
    "llmcompass_chip": "uarch.importers.llmcompass",
    "load_chip": "uarch.chip_file",
    "load_model": "workloads.model",
    "load_suite": "workloads.bench.suite",
    "plot": "results.plots.catalogue",
    "save": "results.plots.style",
    "scalesim_chip": "uarch.importers.scalesim",
    "simulate": "workloads.runner",
    "simulate_channel": "uarch.dram.channel",
    "simulate_attention": "workloads.attention_kernel",
    "simulate_gemm": "workloads.single_kernel",
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
