"""Attention: the FlashAttention schedule (prefill, and decode split over the KV cache) and the one through memory.

Tensors: Q and the output are ``batch x q_len x (q_heads * head_dim)``, the K and V caches ``batch x kv_len x
(kv_heads * head_dim)``; query head h uses K/V head ``h // (q_heads / kv_heads)``. The newest query is at the position of
the newest key, so that a causal mask keeps key j of query i if ``j <= i + kv_len - q_len``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kernels.address_space import AddressSpace, Tensor
from kernels.datatypes import ACCUMULATOR_BYTES
from kernels.gemm import GemmMapping, GemmShape, Operand, Output, gemm
from kernels.program import Box, Grid, Ints, Mask, ProgramWriter, Slot, TileProgram
from kernels.softmax import softmax
from uarch.chip import Chip
from uarch.program import Function

IntArray = npt.NDArray[np.int64]

OPS_PER_SCORE = 5
"""Lane-operations of a streamed softmax per score besides the exponential: scale, maximum, subtract, sum, convert."""
OPS_PER_RESCALED = 1
"""Per accumulator element and key block: multiplication with the change of the maximum."""

_Q, _S, _P, _O, _STATS, _RESULT = (Slot(i) for i in range(6))


@dataclass(frozen=True)
class AttentionShape:
    """Sizes of an attention operator on one chip."""

    batch: int
    q_heads: int
    kv_heads: int
    head_dim: int
    q_len: int
    kv_len: int
    causal: bool = True

    @property
    def group(self) -> int:
        """Query heads that share a K/V head."""
        return self.q_heads // self.kv_heads

    @property
    def kept_scores(self) -> int:
        """Scores of one head and sequence that the mask keeps."""
        if not self.causal:
            return self.q_len * self.kv_len
        return self.q_len * (self.kv_len - self.q_len) + self.q_len * (self.q_len + 1) // 2

    @property
    def flops(self) -> int:
        """Two per multiply-accumulate of the kept scores, in both products."""
        return 4 * self.batch * self.q_heads * self.kept_scores * self.head_dim

    def __str__(self) -> str:
        heads = f"h {self.q_heads}/{self.kv_heads} x {self.head_dim}"
        return f"b {self.batch}, {heads}, q {self.q_len}, kv {self.kv_len}"


@dataclass(frozen=True)
class FlashMapping:
    """How a streamed attention is cut up."""

    tile_q: int
    """Query positions of a block."""
    tile_k: int
    """Keys of a step."""
    stages: int
    pack: int = 1
    """Query heads of a group that a block handles together, as rows of one matrix; they share the loads of K and V."""
    splits: int = 1
    """Parts of the KV cache that go to different blocks, whose results are merged."""


_MERGE_STAGES = 4


def merge_l1_bytes(shape: AttentionShape, mapping: FlashMapping) -> int:
    """L1 bytes of a block that merges the splits of a unit."""
    return _MERGE_STAGES * mapping.tile_q * mapping.pack * (shape.head_dim + 2) * ACCUMULATOR_BYTES


@dataclass(frozen=True)
class _Units:
    """Blocks before splitting, in dispatch order; int64 arrays of equal length, and the split of each block."""

    batch: IntArray
    head: IntArray  # first query head
    q0: IntArray
    n_q: IntArray

    @property
    def count(self) -> int:
        return len(self.batch)

    def repeated(self, times: int) -> _Units:
        return _Units(*(np.repeat(array, times) for array in (self.batch, self.head, self.q0, self.n_q)))


def flash_attention(
    name: str,
    shape: AttentionShape,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    mapping: FlashMapping,
    space: AddressSpace,
    *,
    dtype: str = "fp16",
) -> TileProgram:
    """Tile program that streams K and V once per block, with a running softmax; nothing of size q x kv is stored.

    Key blocks that the causal mask drops entirely are not visited.

    Raises:
        ValueError: packed heads that do not share a K/V head, or more splits than some query sees key blocks.
    """
    if shape.group % mapping.pack:
        raise ValueError(f"{name}: pack {mapping.pack}; {shape.group} query heads share a K/V head")
    writer = ProgramWriter(name, "attention", str(shape), dtype)
    units = _units(shape, mapping)
    if mapping.splits == 1:
        grid = _stream_grid(writer, shape, q, k, v, mapping, units, np.zeros(units.count, np.int64), 1)
        rows = units.n_q * mapping.pack
        box = _head_box(out, shape, mapping, units)
        grid.vector(
            _END, Function.NORMALISE, _O, _RESULT, b=_STATS, m=rows, n=shape.head_dim, store=box, special_per_row=1
        )
        return writer.finish(shape.flops)
    _split_stream(writer, shape, (q, k, v, out), mapping, units, space)
    return writer.finish(shape.flops)


@dataclass(frozen=True)
class UnfusedAttention:
    """Attention through memory: scores = Q K^T, a softmax kernel over them, out = probabilities x V.

    ``scores`` and ``probabilities`` are made by :func:`scores_tensor`. Query heads of a group are rows of one matrix if there
    is a single query position. Masked scores are computed like all others, but do not count as useful.
    """

    shape: AttentionShape
    q: Tensor
    k: Tensor
    v: Tensor
    scores: Tensor
    probabilities: Tensor
    out: Tensor
    space: AddressSpace
    dtype: str = "fp16"

    @property
    def pack(self) -> int:
        """Query heads whose rows form one matrix."""
        return score_packing(self.shape)

    @property
    def qk_shape(self) -> GemmShape:
        """Scores of all sequences and heads (or groups)."""
        shape = self.shape
        return GemmShape(shape.q_len * self.pack, shape.kv_len, shape.head_dim, self._entries)

    @property
    def pv_shape(self) -> GemmShape:
        """Weighted sums of values."""
        shape = self.shape
        return GemmShape(shape.q_len * self.pack, shape.head_dim, shape.kv_len, self._entries)

    def qk(self, mapping: GemmMapping) -> TileProgram:
        """Tile program of the scores."""
        batch, col, kv_col = self._columns()
        entries = np.arange(self._entries)
        a = Operand(self.q, batch=batch, col=col, pack=self.pack)
        outputs = [Output(Operand(self.scores, batch=entries), 0, self.shape.kv_len)]
        keys = Operand(self.k, batch=batch, col=kv_col)
        program = gemm("qk", self.qk_shape, a, keys, outputs, mapping, self.space, dtype=self.dtype, transpose_b=True)
        return replace(program, useful_flops=self.shape.flops // 2)

    def softmax(self, chip: Chip) -> TileProgram:
        """Tile program of the probabilities; ``InputError`` if a row of scores does not fit into a core."""
        return softmax(
            "softmax",
            chip,
            self.scores,
            self.probabilities,
            scale=self.shape.head_dim**-0.5,
            causal_diagonal=self.shape.kv_len - self.shape.q_len if self.shape.causal else None,
            row_repeat=self.pack,
            dtype=self.dtype,
        )

    def pv(self, mapping: GemmMapping) -> TileProgram:
        """Tile program of the weighted sums."""
        batch, col, kv_col = self._columns()
        a = Operand(self.probabilities, batch=np.arange(self._entries))
        outputs = [Output(Operand(self.out, batch=batch, col=col, pack=self.pack), 0, self.shape.head_dim)]
        values = Operand(self.v, batch=batch, col=kv_col)
        program = gemm("pv", self.pv_shape, a, values, outputs, mapping, self.space, dtype=self.dtype)
        return replace(program, useful_flops=self.shape.flops // 2)

    @property
    def _entries(self) -> int:
        return self.shape.batch * self.shape.q_heads // self.pack

    def _columns(self) -> tuple[IntArray, IntArray, IntArray]:
        """Sequence, first column in Q and first column in the caches of every batch entry."""
        batch, head = np.divmod(np.arange(self._entries), self.shape.q_heads // self.pack)
        first_head = head * self.pack
        return batch, first_head * self.shape.head_dim, first_head // self.shape.group * self.shape.head_dim


def score_packing(shape: AttentionShape) -> int:
    """Query heads whose scores form one matrix in unfused attention: a whole group for a single query position."""
    return shape.group if shape.q_len == 1 else 1


def scores_tensor(space: AddressSpace, name: str, shape: AttentionShape, element_bits: int) -> Tensor:
    """A tensor for the scores of unfused attention: one batch entry for each sequence and head (or group)."""
    pack = score_packing(shape)
    return space.allocate(
        name, shape.q_len * pack, shape.kv_len, element_bits, batch=shape.batch * shape.q_heads // pack
    )


_LOAD_Q, _FULL, _MASKED, _REST, _END = 0, 1, 4, 7, 10
"""Steps of a streaming block: load Q; three steps each for key blocks kept entirely, for those that the mask cuts, and
for the last, shorter one; what to do with the result."""


def _units(shape: AttentionShape, mapping: FlashMapping) -> _Units:
    """Sequences and heads one after the other; within a head the longest (last) query tiles first, to balance the tail."""
    n_tiles = -(-shape.q_len // mapping.tile_q)
    n_heads = shape.q_heads // mapping.pack
    unit = np.arange(shape.batch * n_heads * n_tiles)
    pair, tile = np.divmod(unit, n_tiles)
    q0 = (n_tiles - 1 - tile) * mapping.tile_q
    return _Units(pair // n_heads, pair % n_heads * mapping.pack, q0, np.minimum(mapping.tile_q, shape.q_len - q0))


def _head_box(tensor: Tensor, shape: AttentionShape, mapping: FlashMapping, units: _Units) -> Box:
    """Rows of a query tile, columns of its packed heads."""
    width = mapping.pack * shape.head_dim
    return Box(tensor, n_rows=units.n_q, n_cols=width, row=units.q0, col=units.head * shape.head_dim, batch=units.batch)


def _stream_grid(
    writer: ProgramWriter,
    shape: AttentionShape,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mapping: FlashMapping,
    units: _Units,
    split: IntArray,
    n_end_steps: int,
) -> Grid:
    """Blocks that stream their part of K and V; the caller adds ``n_end_steps`` steps from ``_END`` on."""
    rows, tile = units.n_q * mapping.pack, mapping.tile_k
    diagonal = shape.kv_len - shape.q_len
    visible = np.minimum(units.q0 + units.n_q + diagonal, shape.kv_len) if shape.causal else shape.kv_len
    n_tiles = -(-visible // tile) + np.zeros(units.count, np.int64)
    first = split * n_tiles // mapping.splits
    last = (split + 1) * n_tiles // mapping.splits
    if np.any(first == last):
        raise ValueError(f"{writer.name}: {mapping.splits} splits, but some queries see fewer blocks of {tile} keys")
    whole = np.minimum(last, shape.kv_len // tile)
    unmasked = np.clip((units.q0 + diagonal + 1) // tile, first, whole) if shape.causal else whole
    grid = writer.grid(units.count, _END + n_end_steps)
    grid.vector(
        _LOAD_Q, Function.IDENTITY, _head_box(q, shape, mapping, units), _Q, m=rows, n=shape.head_dim, ops_per_element=0
    )
    kv_head = units.head // shape.group
    rest = shape.kv_len % tile
    for j, first_tile, n_keys, repeat, masked in (
        (_FULL, first, tile, unmasked - first, False),
        (_MASKED, unmasked, tile, whole - unmasked, True),
        (_REST, whole, max(rest, 1), last - whole, shape.causal),
    ):
        keys = _Keys(first_tile * tile, n_keys, tile, units.batch, kv_head * shape.head_dim)
        mask = None
        if masked:
            mask = Mask(diagonal, units.q0, keys.first, row_repeat=mapping.pack, step_col=tile)
        _key_block(grid, j, shape, k, v, keys, rows, mask)
        grid.loop(j, 3, repeat)
    bits = k.element_bits
    per_row = tile + shape.head_dim
    grid.resources(
        stages=mapping.stages,
        l1_bytes=mapping.stages * tile * shape.head_dim * bits // 8
        + mapping.tile_q * mapping.pack * shape.head_dim * q.element_bits // 8,
        register_bytes=mapping.tile_q * mapping.pack * per_row * ACCUMULATOR_BYTES,
    )
    return grid


@dataclass(frozen=True)
class _Keys:
    """Keys of a loop over key blocks: first key, keys of a block, distance of blocks, and where the head's columns are."""

    first: IntArray
    count: int
    step: int
    batch: IntArray
    col: IntArray

    def box(self, tensor: Tensor, head_dim: int) -> Box:
        return Box(
            tensor,
            n_rows=self.count,
            n_cols=head_dim,
            row=self.first,
            col=self.col,
            batch=self.batch,
            step_row=self.step,
        )


def _key_block(
    grid: Grid, j: int, shape: AttentionShape, k: Tensor, v: Tensor, keys: _Keys, rows: Ints, mask: Mask | None
) -> None:
    """Scores, streamed softmax, and weighted sum of the values of one block of keys."""
    head_dim, n_keys = shape.head_dim, keys.count
    grid.matmul(j, _Q, keys.box(k, head_dim), _S, m=rows, n=n_keys, k=head_dim, accumulate=False, transpose_b=True)
    grid.vector(
        j + 1,
        Function.ONLINE_SOFTMAX,
        _S,
        _P,
        b=_STATS,
        state=_O,
        m=rows,
        n=n_keys,
        parameter=head_dim**-0.5,
        ops_per_element=OPS_PER_SCORE + OPS_PER_RESCALED * head_dim / n_keys,
        special_per_element=1,
        special_per_row=1,
        mask=mask,
    )
    grid.matmul(j + 2, _P, keys.box(v, head_dim), _O, m=rows, n=head_dim, k=n_keys)


def _split_stream(
    writer: ProgramWriter,
    shape: AttentionShape,
    tensors: tuple[Tensor, Tensor, Tensor, Tensor],
    mapping: FlashMapping,
    units: _Units,
    space: AddressSpace,
) -> None:
    """Blocks for each split, which store partial sums with their maxima, then blocks that merge those of a unit."""
    q, k, v, out = tensors
    tile_rows = mapping.tile_q * mapping.pack
    bits = 8 * ACCUMULATOR_BYTES
    total_rows = units.count * tile_rows
    sums = space.scratch(f"{writer.name}.sums", total_rows, shape.head_dim, bits, batch=mapping.splits)
    stats = space.scratch(f"{writer.name}.stats", total_rows, 2, bits, batch=mapping.splits, after=sums)

    parts = units.repeated(mapping.splits)
    split = np.tile(np.arange(mapping.splits), units.count)
    unit = np.repeat(np.arange(units.count), mapping.splits)
    grid = _stream_grid(writer, shape, q, k, v, mapping, parts, split, 2)
    rows = parts.n_q * mapping.pack
    for j, slot, tensor in ((_END, _O, sums), (_END + 1, _STATS, stats)):
        box = Box(tensor, n_rows=rows, n_cols=tensor.cols, row=unit * tile_rows, batch=split)
        grid.vector(j, Function.IDENTITY, slot, _RESULT, m=rows, n=tensor.cols, store=box)
    grid.signal(unit)
    writer.n_counters = units.count

    merge = writer.grid(units.count, 2)
    rows = units.n_q * mapping.pack
    first_row = np.arange(units.count) * tile_rows
    merge.vector(
        0,
        Function.MERGE,
        Box(sums, n_rows=rows, n_cols=shape.head_dim, row=first_row, step_batch=1),
        _O,
        b=Box(stats, n_rows=rows, n_cols=2, row=first_row, step_batch=1),
        state=_STATS,
        m=rows,
        n=shape.head_dim,
        ops_per_element=2,
        special_per_row=2,
    )
    merge.loop(0, 1, mapping.splits)
    box = _head_box(out, shape, mapping, units)
    merge.vector(1, Function.NORMALISE, _O, _RESULT, b=_STATS, m=rows, n=shape.head_dim, store=box, special_per_row=1)
    merge.wait(np.arange(units.count), mapping.splits)
    tile_bytes = merge_l1_bytes(shape, mapping) // _MERGE_STAGES
    merge.resources(stages=_MERGE_STAGES, l1_bytes=merge_l1_bytes(shape, mapping), register_bytes=tile_bytes)
