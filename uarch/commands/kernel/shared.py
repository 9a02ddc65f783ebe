"""Options that the kernel commands share, as records; :func:`uarch.commands.option_groups.expanded` makes flags of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

from uarch.commands.options import with_energy
from uarch.commands.recording import traced_programs
from uarch.datatypes import Datatype, MatrixDatatype
from workloads.settings.choices import KernelFidelity
from workloads.settings.option_records import Option

if TYPE_CHECKING:
    from kernels.program.tile_program import TileProgram
    from uarch.chip.schema import Chip

Run = TypeVar("Run")


@dataclass(frozen=True, kw_only=True)
class KernelSetting:
    """What a kernel runs on, how, and where its results go."""

    chip: Annotated[str, Option("A preset of `uarch chips`, or a TOML file.", metavar="NAME_OR_FILE")]
    dtype: Annotated[MatrixDatatype, Option("Datatype of all operands.")] = "fp16"
    fidelity: Annotated[
        KernelFidelity, Option("Closed forms; the engine with DRAM serving whole tiles; or with DRAM serving bursts.")
    ] = "tile"
    output: Annotated[
        Path | None, Option("Write the trace of every operator (HDF5).", metavar="FILE.h5", short="-o")
    ] = None
    timeline: Annotated[
        int, Option("Also record what every core does when, at most N intervals; needs --output.", metavar="N")
    ] = 0
    energy: Annotated[
        str | None,
        Option("Energy table in place of the chip's: a name, or a TOML file.", metavar="NAME_OR_FILE"),
    ] = None
    overrides: Annotated[
        list[str] | None,
        Option("Change a field of the chip, e.g. memory.channels=80. Repeatable.", metavar="FIELD=VALUE", flag="--set"),
    ] = None
    as_json: Annotated[bool, Option("Print one JSON object, with units in its keys.", flag="--json")] = False

    def run(self, simulation: Callable[[Chip], Run]) -> tuple[Run, tuple[TileProgram, ...]]:
        """Simulate a kernel on the chip, write its trace if that is wanted; also the tile programs that were executed."""
        from uarch.chip_file import load_chip

        chip = load_chip(self.chip, with_energy(self.overrides, self.energy))
        return traced_programs(lambda: simulation(chip), self.output, self.timeline)


@dataclass(frozen=True, kw_only=True)
class WeightOptions:
    """How weights are stored."""

    weight_dtype: Annotated[
        Datatype | None, Option("Datatype of the weights in memory, with scales; if left out, --dtype without scales.")
    ] = None
    group_size: Annotated[
        int | None, Option("Weights that share a scale; if left out, 128 of 4 bits, 32 of mxfp4, else a whole column.")
    ] = None
    weight_sparsity: Annotated[
        str | None, Option("At most N of every M consecutive weights are kept.", metavar="N:M")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Heads:
    """Sequences and heads of attention."""

    batch: Annotated[int, Option("Sequences.")]
    q_heads: Annotated[int, Option("Query heads.")]
    kv_heads: Annotated[int, Option("Key/value heads; must divide the query heads.")]
    head_dim: Annotated[int, Option("Width of a head.")]


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """How keys and values are stored."""

    kv_dtype: Annotated[
        Datatype | None, Option("Datatype of the stored keys and values; if left out, that of all operands.")
    ] = None
    page_size: Annotated[int, Option("Tokens of a page of the KV cache; 0: a sequence lies together.")] = 0
