"""Sources of measured times as data: what each one timed; the schema of ``sources.toml``."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from uarch.chip_file import preset_names
from uarch.files.reading import read_toml, validate
from uarch.files.section import Section
from workloads.settings.choices import Residency

_FILE = Path(__file__).with_name("sources.toml")

Seconds = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]


class ResidencyOfSuite(Section):
    """What L2 held when a kernel of a suite started; see :data:`workloads.settings.choices.Residency`."""

    gemm: Residency
    attention: Residency
    elementwise: Residency
    collective: Residency


class Source(Section):
    """Where times come from and what they contain."""

    citation: Text
    licence: Text
    timed: Text
    residency: ResidencyOfSuite
    writes_kv_cache: bool = False
    """Attention's time includes the kernel that puts new keys and values into the cache."""
    regroups_queries: bool = False
    """Whether times of several decodes include the kernels that copy queries and results to and from groups of heads."""
    collectives: Text = "nccl"
    """Communication library; see :mod:`kernels.collectives.libraries`."""
    vector_kernels: Text = "vectors"
    """Library of norms, activations and the like; see :mod:`kernels.vector.libraries`."""
    host_floor_seconds: dict[str, dict[str, Seconds]] = Field(default_factory=dict)
    """Host time by chip and operation that is part of every measured time; kernel time only where there is none."""

    @property
    def includes_host(self) -> bool:
        """Whether times were taken on the host."""
        return bool(self.host_floor_seconds)

    def floor_seconds(self, chip: str, op: str) -> float:
        """Host time to be added to a kernel's on a chip (by name); 0 where the source has none."""
        return self.host_floor_seconds.get(chip, {}).get(op, 0.0)


class _Sources(Section):
    chips: dict[str, str]
    sources: dict[str, Source]


USER = "measure"
"""Source of times whose tag is not known: kernel time only."""


@cache
def _table() -> _Sources:
    return validate(_Sources, read_toml(_FILE), _FILE.name)


def source_of(tag: str) -> Source:
    """The source with the longest name that ``tag`` begins with; that of a user's own times if there is none."""
    sources = _table().sources
    known = max((name for name in sources if tag.startswith(name)), key=len, default=USER)
    return sources[known]


def preset_of(chip: str) -> str | None:
    """Name of the preset of a chip in a CSV file, None if there is none."""
    return chip if chip in preset_names() else _table().chips.get(chip)


def known_chips() -> list[str]:
    """Names of chips in CSV files for which there are presets."""
    return [*_table().chips, *preset_names()]
