"""The instruction set of the tile machine: what a kernel builder writes and the engine, or the replay, executes.

A tile program is plain NumPy struct arrays, no Python objects inside (the object that holds them is
:class:`kernels.program.tile_program.TileProgram`):

``tensors``  matrices in device memory. A tensor is ``batch x rows x cols``; rows of all batches lie one after the
             other, so that ``(batch * rows, cols)`` and any other split of the leading sizes are the same bytes. The
             L2 cache tracks it in *granules* of at most 64 rows x 128 bytes of that flattened matrix.
``blocks``   independent pieces of work in dispatch order; each runs on one core and is a range of steps.
``steps``    a step is one matrix or vector instruction on tiles. A step with ``body`` b > 0 opens a loop over the next
             b steps (itself included), executed ``repeat`` times; ``body`` 0 marks the other steps of a loop body.
``operands`` shape ``(len(steps), 3)``: what each step reads (``A``, ``B``) and produces (``OUT``). An operand is a box of
             a tensor, moved by ``step_*`` in every loop iteration, or a *slot*: a matrix that stays in the core (in L1,
             registers or accumulators) for as long as the block runs. ``OUT`` always names a slot; with a tensor the
             slot is also stored to the box. A slot that is read with ``n_cols`` > 0 stands for these columns of it, from
             ``col`` on. All slots of a block are empty when it starts.
``tables``   int64: where the parts of gathered boxes lie (pages of a KV cache, kept blocks of keys), and which masks belong
             to the iterations of a loop. Steps and operands refer to consecutive entries.
``masks``    which scores of an attention tile are kept; those of kind ``ELEMENTS`` are bits in ``mask_bits``.

Boxes are read and written in row-major order and reshaped to what the step says: ``m x k`` for A and ``k x n`` for B of
a matrix step (the other way round if transposed), ``m x n`` for a vector step. With N:M weights (``group`` above 1) B and
the slot ``state`` hold the kept ``k`` of B's rows and where each stands in its group of rows; A has a column for every row.
"""

from __future__ import annotations

from enum import IntEnum, unique
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

StructArray = npt.NDArray[Any]


class LinkUse(NamedTuple):
    """How a program's remote tensors travel, if not as single lines that are asked for and answered."""

    wire_bytes_per_byte: float
    """Bytes for which the link is occupied, headers and pauses included, per byte of the tensors."""
    latency_seconds: float
    """Seconds from a request to the first byte of its answer."""


GRANULE_ROWS = 64
GRANULE_ROW_BYTES = 128
GRANULE_BYTES = GRANULE_ROWS * GRANULE_ROW_BYTES
"""Largest size of the unit in which L2 and DRAM move data: 64 x 64 elements of fp16."""

NONE = -1
A, B, OUT = 0, 1, 2


class Op(IntEnum):
    """Opcode of a step: the unit of the core that executes it."""

    MATMUL = 0
    """``OUT (+)= A @ B`` on the systolic arrays; adds to what the slot holds if ``accumulate``."""
    VECTOR = 1
    """``OUT = function(A, B)`` on the vector and special-function units."""


@unique
class Function(IntEnum):
    """Function that a vector step computes, row by row; ``p`` is the step's ``parameter``, ``state`` its third slot."""

    IDENTITY = 0
    """A."""
    ADD = 1
    """A + B; an empty slot counts as zero."""
    GELU = 2
    """GELU of A in its tanh form."""
    SILU_MUL = 3
    """silu(A) * B: the gate of a gated feed-forward network."""
    RMS_NORM = 4
    """A / sqrt(mean(A^2) + p) * B, with B one row; if B is narrower, each group of as many columns of A by itself (heads)."""
    LAYER_NORM = 5
    """(A - mean) / sqrt(variance + p) * B[0] + B[1], with B two rows."""
    ROPE = 6
    """Rotary embedding of every head in A by B: a row of B is d/2 cosines, then d/2 sines (halves rotated)."""
    SOFTMAX = 7
    """softmax(p * A) over the kept scores."""
    ONLINE_SOFTMAX = 8
    """One block of a streamed softmax: OUT = exp(p * A - max'); B is the slot of running (max, sum) columns and ``state``
    the accumulator that is rescaled to the new maximum."""
    NORMALISE = 9
    """A / sum, B being a slot of (max, sum) columns."""
    MERGE = 10
    """Adds an un-normalised partial attention output A with (max, sum) columns B to the accumulator OUT, whose own
    (max, sum) are in ``state``."""
    ZERO = 11
    """Zeros, whatever A is."""
    GELU_MUL = 12
    """gelu(A) * B: the gate of a gated feed-forward network, GELU in its tanh form."""
    SCALE = 13
    """A * B, each row of B (of one column: for all of A's) for p consecutive rows of A: scales of groups of values."""
    MULTIPLY_ADD = 14
    """OUT + A * B, with B one row or one column; an empty slot counts as zero."""
    EXPAND = 15
    """N:M weights (the step's ``kept`` and ``group``) with their zeros, ``m`` rows: A are the kept values, B their places."""
    TOP_K = 16
    """Softmax over the p largest of each row of A, followed by their columns: ``m x 2p``, largest first."""
    SOFT_CAP = 17
    """p * tanh(A / p)."""
    SCALE_ROWS = 18
    """A * B, with B one column: scales of quantised keys and values."""
    MOMENTS = 19
    """Adds count, sum and sum of squares of A's rows to OUT, three columns."""
    RMS_SCALE = 20
    """A / sqrt(mean square + p) * B, with the mean from the moments in ``state`` and B one row."""
    LAYER_SCALE = 21
    """(A - mean) / sqrt(variance + p) * B[0] + B[1], with the moments in ``state`` and B two rows."""
    LARGEST = 22
    """The largest absolute value of each row of A, 1 if that is 0: one column."""
    DIVIDE_ROWS = 23
    """A / B, with B one column."""
    POSITIVE = 24
    """max(A, 0)."""
    NEGATIVE = 25
    """min(A, 0)."""
    COLUMN_MAXIMUM = 26
    """The largest value of each column of A, as one row."""
    PROBABILITIES = 27
    """exp(p * A - max) / sum of the kept scores, B being (max, sum) columns."""
    OVERLAP_SUMS = 28
    """Sums of the scores of compressed keys by block, as native sparse attention adds them.

    ``OUT[i, j]`` is the sum of A over row i's equal share of A's rows and over columns ``p * j + x + y`` for all x below p
    and y below e, where A has ``p * n + e - 1`` columns. A block has p strides; a compressed key spans e strides, and counts
    once for each pair of a stride of the block and a stride of its own that coincide.
    """
    GATE_ROWS = 29
    """A * sigmoid(B), with B one column."""


class MaskKind(IntEnum):
    """Form of a mask, which says which scores are kept; the rest count as minus infinity."""

    CAUSAL = 0
    """Keep key j of query i if ``j <= i + diagonal``."""
    ELEMENTS = 1
    """Keep the scores of the tile whose bits are set: ``rows x cols`` of them in row-major order, packed as NumPy's
    ``packbits`` does, from byte ``first_byte`` of ``mask_bits`` on."""


class Residence(IntEnum):
    """Chip in whose memory a tensor lies: this one or a peer."""

    LOCAL = 0
    REMOTE = 1
    """The memory of a peer, reached over the chip-to-chip link."""


TENSOR = np.dtype(
    [
        ("base_address", np.int64),  # bytes, a multiple of GRANULE_BYTES
        ("first_granule", np.int64),  # index in the address space's numbering of granules
        ("batch", np.int64),
        ("rows", np.int64),  # of one batch entry
        ("cols", np.int64),
        ("element_bits", np.int64),
        ("row_shift", np.int64),  # a granule has 2^row_shift rows and 2^col_shift columns
        ("col_shift", np.int64),
        ("granules_across", np.int64),
        ("residence", np.int64),
    ]
)

BLOCK = np.dtype(
    [
        ("first_step", np.int64),
        ("n_steps", np.int64),
        ("stages", np.int64),  # how many steps' operands L1 holds at a time: 1 = no prefetch, 2 = double buffering
        ("l1_bytes", np.int64),  # all stages and slots in L1; with the chip's L1 it bounds the blocks a core holds
        ("register_bytes", np.int64),  # accumulators; bounds them likewise
        ("wait_counter", np.int64),  # the block starts when this counter has reached wait_value, or NONE
        ("wait_value", np.int64),
        ("signal_counter", np.int64),  # counter that the block's end increments, or NONE
    ]
)

STEP = np.dtype(
    [
        ("op", np.int64),
        ("function", np.int64),  # of a vector step
        ("body", np.int64),
        ("repeat", np.int64),
        ("m", np.int64),
        ("n", np.int64),
        ("k", np.int64),
        # What the arrays compute: m, n and k, or more in kernels that do not trim tiles at the edges.
        ("array_m", np.int64),
        ("array_n", np.int64),
        ("array_k", np.int64),
        ("transpose_a", np.int64),
        ("transpose_b", np.int64),
        ("accumulate", np.int64),
        # Of every ``group`` rows of B, which then holds the kept ones alone: k counts those, A has all.
        ("kept", np.int64),
        ("group", np.int64),  # 1 if B is dense
        ("state", np.int64),  # third slot of a vector step, or of a matrix step with N:M weights: indices; or NONE
        ("parameter", np.float64),
        ("vector_ops", np.int64),  # plain lane-operations of one execution
        ("barriers", np.int64),  # at which all threads of the block meet after a vector step: latency, no unit is busy
        ("special_ops", np.int64),  # special-function lane-operations (exp, rsqrt, tanh, division)
        ("mask", np.int64),  # index into masks, or NONE
        ("mask_row", np.int64),  # query index of the tile's first row
        ("mask_row_repeat", np.int64),  # how many consecutive rows are the same query (packed heads of a group)
        ("mask_col", np.int64),  # key index of the tile's first column
        ("mask_step_col", np.int64),  # its advance per loop iteration
        ("mask_table", np.int64),  # or NONE: where the mask (or NONE) of each loop iteration stands in tables
    ]
)

OPERAND = np.dtype(
    [
        ("tensor", np.int64),  # index into tensors, or NONE
        ("slot", np.int64),  # or NONE
        ("batch", np.int64),
        ("row", np.int64),
        ("col", np.int64),
        ("n_batch", np.int64),
        ("n_rows", np.int64),
        ("n_cols", np.int64),
        ("step_batch", np.int64),
        ("step_row", np.int64),
        ("step_col", np.int64),
        ("table", np.int64),  # or NONE: part b of the batch begins tables[table + iteration * step_batch + b] rows on
        ("cached", np.int64),  # 1: loaded by way of the core's cache, which keeps it (uarch/l1_cache.py)
    ]
)

MASK = np.dtype(
    [
        ("kind", np.int64),
        ("diagonal", np.int64),
        ("first_byte", np.int64),
        ("rows", np.int64),
        ("cols", np.int64),
    ]
)


def executions(steps: StructArray) -> npt.NDArray[np.int64]:
    """How often each step is executed, loops counted; shape ``(len(steps),)``."""
    heads = np.flatnonzero(steps["body"] > 0)
    return np.repeat(steps["repeat"][heads], steps["body"][heads])
