"""The schema of ``workloads/experiments/*.toml``: sweeps, grids and variants, each with the paper's numbers beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from uarch.datatypes import MatrixDatatype
from uarch.files.presets import Presets
from uarch.files.reading import read_toml, validate
from uarch.files.section import Section
from workloads.settings.choices import KernelPhase, Schedule

EXPERIMENTS = Presets("experiment", Path(__file__).parent)
"""Experiments that come with the package."""

Text = Annotated[str, Field(min_length=1)]
Size = Annotated[int, Field(ge=1, le=1 << 24)]
Positive = Annotated[float, Field(gt=0)]
Sizes = Annotated[tuple[Size, ...], Field(min_length=1, strict=False)]
Pairs = Annotated[tuple[Annotated[tuple[Size, Size], Field(strict=False)], ...], Field(strict=False)]
Values = Annotated[tuple[float, ...], Field(strict=False)]
Names = Annotated[tuple[Text, ...], Field(min_length=1, strict=False)]
Overrides = Annotated[tuple[Text, ...], Field(strict=False)]


class Setting(Section):
    """How a phase is run; arguments of :func:`workloads.running.runner.simulate`."""

    model: Text
    tp: Size
    dtype: MatrixDatatype
    attention: Schedule
    stack: Text


class Curve(Section):
    """Latency of one phase over the values of a field of a chip, normalised to that at ``reference``."""

    name: Text
    title: Text
    axis: Text
    phase: KernelPhase
    batch: Size
    seq: Size
    chip: Text
    fields: Names
    """All set to the same value."""
    divide_by: Positive = 1.0
    """Units of the axis per unit of the field."""
    values: Annotated[Values, Field(min_length=2)]
    reference: float
    paper: Values = ()
    tolerance: Positive | None = None
    engine: Values = ()
    """Values that the engine runs as well, the reference among them."""
    note: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Curve:
        if self.reference not in self.values:
            raise ValueError(f"must have reference among values, not {self.reference:g}")
        if self.engine and not {self.reference} <= set(self.engine) <= set(self.values):
            raise ValueError("must have values in engine, the reference among them")
        if self.paper and len(self.paper) != len(self.values):
            raise ValueError(f"must have as many numbers in paper as values, {len(self.values)}")
        return self


class Grid(Section):
    """Performance of chips relative to a baseline over batch and sequence, and its mean over what fits."""

    name: Text
    title: Text
    phase: KernelPhase
    baseline: Text
    chips: Names
    batches: Sizes
    seqs: Sizes
    paper: dict[str, Positive]
    tolerance: Positive
    engine: Pairs = ()
    """(batch, sequence) that the engine runs as well."""


class Parallel(Section):
    """Latency under tensor and pipeline parallelism."""

    name: Text
    title: Text
    phase: KernelPhase
    batch: Size
    seq: Size
    chips: Names
    degrees: Annotated[Pairs, Field(min_length=1)]
    """(tp, pp)"""
    paper_seconds: dict[str, Values]
    set: Overrides = ()
    """Fields of all chips that differ from their files."""
    engine: Pairs = ()


class Variant(Section):
    """Another way to run the chips, to see which conclusions hold there; what is left out is as in ``setting``."""

    name: Text
    title: Text
    model: Text | None = None
    tp: Size | None = None
    dtype: Text | None = None
    attention: Text | None = None
    stack: Text | None = None
    prefill: Annotated[Pairs, Field(min_length=1)]
    """(batch, sequence)"""
    decode: Annotated[Pairs, Field(min_length=1)]
    engine: bool = False
    """The first pair of each phase is run on the engine as well."""


class Conclusion(Section):
    """A claim: performance of ``chip`` relative to the baseline, per unit of something or as it is, is at least a value."""

    name: Text
    title: Text
    chip: Text
    phase: KernelPhase
    per: Literal["", "dollar", "joule"] = ""
    at_least: Positive | None = None
    at_most: Positive | None = None


class Mechanisms(Section):
    """Mechanisms of the engine that are taken away, and the point of each phase at which the effect is looked at."""

    prefill: Annotated[Pairs, Field(min_length=1, max_length=1)]
    """(batch, sequence)"""
    decode: Annotated[Pairs, Field(min_length=1, max_length=1)]
    without: Names
    """Names in ``workloads/settings/mechanisms.toml``."""


class PaperChip(Section):
    """A column of the paper's table of chips."""

    die_area_mm2: Positive
    die_cost_usd: Positive
    memory_cost_usd: Positive
    tdp_watts: Positive
    peak_tensor_pflops: Positive
    peak_vector_tflops: Positive
    on_chip_mb: Positive
    kv_cache_thousand_tokens: Positive | None = None


class Prices(Section):
    """Hardware cost over the price of a memory technology."""

    title: Text
    technology: Text
    usd_per_gb: Annotated[Values, Field(min_length=1)]
    paper_usd: dict[str, Values]


class Experiment(Section):
    """An experiment; frozen and picklable."""

    name: Text
    title: Text
    source: Text
    baseline: Text
    setting: Setting
    chip: dict[str, PaperChip]
    prices: Prices
    curve: Annotated[tuple[Curve, ...], Field(strict=False)] = ()
    grid: Annotated[tuple[Grid, ...], Field(strict=False)] = ()
    parallel: Annotated[tuple[Parallel, ...], Field(strict=False)] = ()
    variant: Annotated[tuple[Variant, ...], Field(strict=False)] = ()
    conclusion: Annotated[tuple[Conclusion, ...], Field(strict=False)] = ()
    mechanisms: Mechanisms


def load_experiment(name_or_path: str) -> Experiment:
    """Load a preset or a TOML file of the same layout.

    ``InputError`` for an unknown experiment, an unreadable or malformed file, and fields that are wrong, missing or unknown.
    """
    return validate(Experiment, read_toml(EXPERIMENTS.find(name_or_path)), f"experiment {name_or_path}")
