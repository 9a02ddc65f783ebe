"""Cycle-approximate simulator of chips for LLM inference; the public names load what they need on first use."""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from results.diff import difference
    from results.exports.writing import export_trace
    from results.invariants import check
    from results.plots.catalogue import plot
    from results.plots.style import save
    from results.report.page import write_report
    from results.trace import Trace
    from uarch.chip import Chip
    from uarch.chip_file import load_chip
    from uarch.dram.channel import simulate_channel
    from uarch.engine import execute
    from uarch.errors import InputError
    from uarch.importers.llmcompass import llmcompass_chip
    from uarch.importers.scalesim import scalesim_chip
    from workloads.attention_kernel import simulate_attention
    from workloads.bench.study import study
    from workloads.bench.suite import load_suite
    from workloads.model import load_model
    from workloads.runner import simulate
    from workloads.single_kernel import simulate_gemm

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


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name in _MODULE_OF:
        return getattr(import_module(_MODULE_OF[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _version() -> str:
    try:
        return metadata.version("uarch")
    except metadata.PackageNotFoundError:  # run from the sources, not installed
        return "0+source"


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
