"""Native sparse attention as a sequence of programs: compression, compressed attention, selection, selected attention, window
attention, gated sum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kernels.attention.kv_storage import PLAIN
from kernels.attention.native_sparse import CompressedMask, NativeSparse, SelectedMask
from kernels.attention.native_sparse_steps import CompressedCache, compress, gated_sum, select_blocks
from kernels.attention.sequences import Sequences
from kernels.attention.shape import AttentionShape, FlashMapping
from kernels.mapping.mapper import Mapper, Search
from kernels.program.address_space import AddressSpace, Tensor
from kernels.program.tile_program import TileProgram
from uarch.chip.schema import Chip
from uarch.datatypes import ACCUMULATOR_BYTES, datatype
from workloads.layers.attention_job import AttentionJob, JobTensors
from workloads.settings.phase import Phase

BRANCHES = 3
"""Compressed, selected, window: the order of their gates."""

Step = Callable[[], tuple[TileProgram, Search[Any] | None]]
"""Builds a program, after the search for its mapping if it has one."""


@dataclass(frozen=True, eq=False)
class NativeSparseBuffers:
    """What the programs hand on, and the gates, a column for each branch and head."""

    gates: Tensor
    compressed: Tensor
    selected: Tensor
    """Results of these branches; the window's lie in the output until the sum."""
    stats: Tensor
    """(maximum, sum) of the softmax over compressed keys, for each head."""


@dataclass(frozen=True, eq=False)
class NativeSparseJob:
    """Native sparse attention of equally long sequences; branches share keys and values, while the paper's have their own."""

    shape: AttentionShape
    pattern: NativeSparse
    dtype: str = "fp16"
    seed: int = 0

    def allocate(self, space: AddressSpace) -> NativeSparseBuffers:
        """What is needed besides the operands of attention and the compressed cache: rows for all new tokens."""
        shape, bits = self.shape, datatype(self.dtype).bits

        def rows(name: str, cols: int, element_bits: int = bits) -> Tensor:
            return space.allocate(name, shape.q_len, cols, element_bits, batch=shape.batch)

        width = shape.q_heads * shape.value_width
        return NativeSparseBuffers(
            gates=rows("gates", BRANCHES * shape.q_heads),
            compressed=rows("out_compressed", width),
            selected=rows("out_selected", width),
            stats=rows("softmax_stats", 2 * shape.q_heads, 8 * ACCUMULATOR_BYTES),
        )

    @property
    def first_query(self) -> int:
        """First query of each sequence that sees a compressed key."""
        return self.pattern.first_query(self.shape.q_len, self.shape.kv_len)

    def compressed(self) -> AttentionJob | None:
        """The branch over compressed keys; None while there are none."""
        q_len = self.shape.q_len - self.first_query
        if q_len == 0:
            return None
        shape = replace(self.shape, q_len=q_len, kv_len=self.pattern.summaries(self.shape.kv_len))
        return AttentionJob(shape, self.dtype, CompressedMask(self.pattern, self.shape.kv_len))

    def selected(self) -> AttentionJob:
        """The branch over selected blocks: as in the paper's kernel a block of the program is a query with the heads that share
        its keys, and a step loads keys that lie together."""
        return AttentionJob(
            self.shape,
            self.dtype,
            SelectedMask(self.pattern),
            row_tile=(1, self.shape.group),
            most_keys=self.pattern.selection,
            seed=self.seed,
        )

    def window(self) -> AttentionJob:
        """The branch over the last keys."""
        return AttentionJob(self.shape, self.dtype, self.pattern.window_mask())

    def steps(
        self,
        chip: Chip,
        mapper: Mapper,
        operands: JobTensors,
        cache: CompressedCache,
        buffers: NativeSparseBuffers,
        space: AddressSpace,
    ) -> list[tuple[str, Step]]:
        """Names of the programs and what builds them, in order of execution."""
        shape, pattern, dtype = self.shape, self.pattern, self.dtype
        compression = compress(shape, pattern, operands.k, operands.v, cache, dtype)
        steps = [] if compression is None else [(compression.name, _given(compression))]
        compressed = self.compressed()
        if compressed is not None:
            of_branch = self._compressed_operands(compressed, operands.q, cache, buffers)
            steps.append(self._attention(compressed, "compressed", of_branch, mapper, space))
        selection = select_blocks(shape, pattern, operands.q, buffers.stats, cache, space, dtype)
        steps += [(program.name, _given(program)) for program in selection]
        of_branch = replace(operands, out=buffers.selected)
        steps.append(self._attention(self.selected(), "selected", of_branch, mapper, space))
        steps.append(self._attention(self.window(), "window", operands, mapper, space))
        branches = ((buffers.compressed, self.first_query), (buffers.selected, 0), (operands.out, 0))
        total = gated_sum(chip, branches, buffers.gates, operands.out, shape, dtype)
        return [*steps, (total.name, _given(total))]

    def _compressed_operands(
        self, job: AttentionJob, q: Tensor, cache: CompressedCache, buffers: NativeSparseBuffers
    ) -> JobTensors:
        """Queries from ``first_query`` on, and the filled rows of the compressed cache."""
        shape, entry = self.shape, np.arange(self.shape.batch)
        sequences = Sequences(
            np.full(shape.batch, job.shape.q_len),
            np.full(shape.batch, job.shape.kv_len),
            entry * shape.q_len + self.first_query,
            entry * cache.keys.rows + self.pattern.lead,
        )
        return JobTensors(q, cache.keys, cache.values, buffers.compressed, PLAIN, sequences, buffers.stats)

    def _attention(
        self, job: AttentionJob, branch: str, operands: JobTensors, mapper: Mapper, space: AddressSpace
    ) -> tuple[str, Step]:
        name = f"attention_{branch}"

        def build(mapping: FlashMapping) -> TileProgram:
            return job.program(name, operands, mapping, space)

        def step() -> tuple[TileProgram, Search[FlashMapping]]:
            search = mapper.search_attention(job.shape, build, job.load())
            return build(search.mapping), search

        return name, step


def native_sparse_job(shape: AttentionShape, phase: Phase) -> NativeSparseJob:
    """Describe the native sparse attention of a layer in a phase that has its pattern."""
    assert phase.native_sparse is not None
    return NativeSparseJob(shape, phase.native_sparse, phase.dtype, phase.seed)


def _given(program: TileProgram) -> Step:
    return lambda: (program, None)
