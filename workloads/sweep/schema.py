"""The schema of a sweep's TOML file: what is varied, what is kept, what is run, and what is better."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from uarch.errors import unknown_name
from uarch.files.presets import Presets
from uarch.files.section import Section, TomlArray
from workloads.settings.choices import Fidelity, PhaseName
from workloads.settings.option_records import LARGEST_SIZE, declared
from workloads.settings.run_options import RunOptions
from workloads.sweep.domain import Domain
from workloads.sweep.expressions import Value, parsed

SWEEPS = Presets("sweep", Path(__file__).parent)
"""Sweeps that come with the package."""

Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Size = Annotated[int, Field(ge=1, le=LARGEST_SIZE)]
Method = Literal["grid", "one-at-a-time", "latin-hypercube", "random", "optimise"]
MOST_POINTS = 10_000_000
OPTIONS = tuple(each.name for each in declared(RunOptions) if each.name != "fidelity")
"""Options of a run that a sweep can set; its fidelities it has itself."""


class Run(Section):
    """A phase of a model that is run at every point."""

    model: Text
    phase: PhaseName
    batch: Size
    seq: Size | None = None
    options: dict[str, Value] = Field(default_factory=dict)
    """Fields of :class:`workloads.settings.run_options.RunOptions`."""

    @model_validator(mode="after")
    def _known(self) -> Run:
        for name in self.options:
            if name not in OPTIONS:
                raise ValueError(f"options.{name} is not an option of a run; {unknown_name(name, list(OPTIONS))}")
        return self


class Objective(Section):
    """Something that is wanted low or high: one of both expressions."""

    minimise: Text | None = None
    maximise: Text | None = None
    name: Text | None = None
    """Column of its value in the table; the expression itself if left out."""

    @model_validator(mode="after")
    def _one_direction(self) -> Objective:
        if (self.minimise is None) == (self.maximise is None):
            raise ValueError("must have either minimise or maximise")
        return self

    @property
    def text(self) -> str:
        """Expression of the value."""
        text = self.minimise or self.maximise
        assert text is not None
        return text

    @property
    def column(self) -> str:
        """Name of the value in the table."""
        return self.name or parsed(self.text).text

    @property
    def sign(self) -> float:
        """Factor that makes a cost of the value: 1 if low is good, else -1."""
        return 1.0 if self.minimise is not None else -1.0


class Sampling(Section):
    """Choice of the points of the space that are run."""

    method: Method = "grid"
    points: Annotated[int, Field(ge=1, le=MOST_POINTS)] | None = None
    """Number of points; a grid and ``one-at-a-time`` have as many as they have."""
    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = 0
    sampler: Literal["tpe", "nsga2"] = "tpe"
    """Optuna's sampler of method ``optimise``."""
    batch: Annotated[int, Field(ge=1, le=100_000)] = 16
    """Points that ``optimise`` proposes together: what it knows is the same for any number of workers."""

    @model_validator(mode="after")
    def _consistent(self) -> Sampling:
        counted = self.method not in ("grid", "one-at-a-time")
        if counted != (self.points is not None):
            raise ValueError(f"must {'' if counted else 'not '}have points with method = {self.method!r}")
        return self


class Sweep(Section):
    """A sweep; frozen and picklable."""

    name: Text
    title: Text
    chip: Text
    """Chip whose fields the points change."""
    set: TomlArray[Text] = ()
    """Fields of every chip that differ from its file, ``dotted.field=value``; not of the chips of ``point``."""
    stack: Text = "graph"
    run: dict[Name, Run] = Field(default_factory=dict)
    """Runs of every point by name; none for a sweep over area, cost and power alone."""
    parameter: dict[str, Domain] = Field(default_factory=dict)
    """Domain of each field that varies."""
    derived: dict[str, Text] = Field(default_factory=dict)
    """Expression of each field that follows from others, and of each new name."""
    point: TomlArray[dict[str, Value]] = ()
    """Points that are run besides the sampled ones, each a table of fields; derived fields are not set in them."""
    constraints: TomlArray[Text] = ()
    """Expressions that must hold; points that break one before it is run are not run."""
    objective: Annotated[TomlArray[Objective], Field(min_length=1)]
    sampling: Sampling = Sampling()
    fidelities: Annotated[TomlArray[Fidelity], Field(min_length=1)] = ("analytical",)
    """Several: all points with the first, and with each next one the best ``keep`` of those before."""
    keep: Annotated[float, Field(gt=0, le=1)] = 0.25

    @model_validator(mode="after")
    def _consistent(self) -> Sweep:
        if not self.parameter and not self.point:
            raise ValueError("must have at least one parameter, or one point")
        if len(set(self.fidelities)) < len(self.fidelities):
            raise ValueError("must not have a fidelity twice")
        if self.sampling.method == "optimise" and len(self.fidelities) > 1:
            raise ValueError("must have one fidelity with sampling.method = 'optimise'")
        columns = [each.column for each in self.objective]
        if len(set(columns)) < len(columns):
            raise ValueError("must not have an objective twice")
        return self
