"""Cycle-approximate simulator of chips for LLM inference; the public names load what they need on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from results.analysis.diff import difference
    from results.analysis.invariants import check
    from results.exports.writing import export_trace
    from results.plots.catalogue import plot
    from results.plots.style import save
    from results.report.page import write_report
    from results.trace.trace import Trace
    from uarch.chip.schema import Chip
    from uarch.chip_file import load_chip
    from uarch.dram.replay.channel import simulate_channel
    from uarch.engine.execute import execute
    from uarch.errors import InputError
    from uarch.importers.llmcompass import llmcompass_chip
    from uarch.importers.scalesim import scalesim_chip
    from uarch.version import __version__
    from workloads.bench.study import study
    from workloads.bench.suite import load_suite
    from workloads.models.presets import load_model
    from workloads.running.runner import simulate
    from workloads.single.attention import simulate_attention
    from workloads.single.gemm import simulate_gemm
    from workloads.sweep.execution import run_sweep
    from workloads.sweep.table import read_sweep

__all__ = [
    "Chip",
    "InputError",
    "Trace",
    "__version__",
    "check",
    "difference",
    "execute",
    "export_trace",
    "llmcompass_chip",
    "load_chip",
    "load_model",
    "load_suite",
    "plot",
    "read_sweep",
    "run_sweep",
    "save",
    "scalesim_chip",
    "simulate",
    "simulate_attention",
    "simulate_channel",
    "simulate_gemm",
    "study",
    "write_report",
]

_MODULE_OF = {
    "__version__": "uarch.version",
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


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(_MODULE_OF[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
