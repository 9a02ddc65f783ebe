"""Tile programs: the arrays of :mod:`uarch.program.records`, and a writer with which kernel builders fill them.

A builder describes a *grid*: many blocks with the same sequence of steps, whose sizes and coordinates are arrays over
the blocks. A step or loop that a block does not need gets ``repeat`` 0 there.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from kernels.program.address_space import Tensor
from uarch.program.records import (
    BLOCK,
    GRANULE_BYTES,
    MASK,
    NONE,
    OPERAND,
    OUT,
    STEP,
    TENSOR,
    A,
    B,
    Function,
    LinkUse,
    MaskKind,
    Op,
    StructArray,
    executions,
)
from uarch.systolic.sparsity import DENSE, Structure

Reals = float | npt.NDArray[np.float64]
Ints = int | npt.NDArray[np.int64]
"""One value for all blocks of a grid, or one for each."""


@dataclass(frozen=True)
class Box:
    """A part of a tensor, ``n_batch x n_rows x n_cols`` from ``(batch, row, col)``, moved by ``step_*`` per iteration."""

    tensor: Tensor
    n_rows: Ints
    n_cols: Ints
    row: Ints = 0
    col: Ints = 0
    batch: Ints = 0
    n_batch: Ints = 1
    step_row: Ints = 0
    step_col: Ints = 0
    step_batch: Ints = 0
    table: Ints = NONE
    """Place in the program's tables of the first rows of the box's batch entries; NONE if they follow one another."""
    cached: bool = False
    """Whether loads go through the core's L1 cache, which serves what blocks read again; not for flat granules."""


@dataclass(frozen=True)
class Slot:
    """A matrix that stays in the core for the time of a block, or ``n_cols`` of its columns from ``col`` on."""

    index: int
    col: Ints = 0
    n_cols: Ints = 0


@dataclass(frozen=True)
class Mask:
    """Causal mask of a tile of scores, and the tile's place in it."""

    diagonal: int
    """Offset of the diagonal: key j is kept for query i if ``j <= i + diagonal``."""
    row: Ints
    col: Ints
    row_repeat: int = 1
    """Number of consecutive rows of the tile that are one query (packed heads of a group)."""
    step_col: Ints = 0


@dataclass(frozen=True)
class ElementMasks:
    """Masks of the tiles of a loop, element by element: a table with the number of a mask, or NONE, for each iteration."""

    table: Ints
    row_repeat: int = 1
    """Number of consecutive rows of the tile that are one query, as in :class:`Mask`."""


@dataclass(frozen=True, eq=False)
class TileProgram:
    """One kernel for one chip's cores: struct arrays as described in :mod:`uarch.program.records`.

    ``kind`` is the operator's kind (``gemm``, ``norm``, ...), ``shape`` a text for people, ``dtype`` the datatype of matrix
    work, ``useful_flops`` what the operator needs: twice its MACs, for masked attention those of the kept scores only.
    """

    name: str
    kind: str
    shape: str
    dtype: str
    tensors: StructArray
    blocks: StructArray
    steps: StructArray
    operands: StructArray
    tables: npt.NDArray[np.int64]
    masks: StructArray
    mask_bits: npt.NDArray[np.uint8]
    n_counters: int
    n_granules: int
    useful_flops: int
    tensor_names: tuple[str, ...]
    link: LinkUse | None = None
    """Way in which remote tensors travel; None: single lines are asked for and answered."""
    launch_seconds: float | None = None
    """Seconds to start it on the device, 0 for a phase of the kernel before; None: see :class:`uarch.chip.schema.Launch`."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates that the program executes."""
        return int((self.executions() * self.steps["m"] * self.steps["n"] * self.steps["k"])[self.is_matrix()].sum())

    @property
    def padding_macs(self) -> int:
        """Executed multiply-accumulates that the operator does not need: masked parts of tiles."""
        return self.macs - self.useful_flops // 2 if self.macs else 0

    @property
    def dynamic_steps(self) -> int:
        """Steps executed, loops counted."""
        return int(self.executions().sum())

    def is_matrix(self) -> npt.NDArray[np.bool_]:
        """Whether each step is a matrix step; shape ``(len(steps),)``."""
        matrix: npt.NDArray[np.bool_] = self.steps["op"] == Op.MATMUL
        return matrix

    def executions(self) -> npt.NDArray[np.int64]:
        """How often each step is executed; shape ``(len(steps),)``."""
        return executions(self.steps)

    def relocated(self) -> TileProgram:
        """Copy of the program with its tensors one after the other, independent of what else lies in memory."""
        tensors = self.tensors.copy()
        address = granule = 0
        for base in dict.fromkeys(tensors["base_address"].tolist()):
            same = tensors["base_address"] == base
            down = -(-(tensors["batch"] * tensors["rows"]) // (1 << tensors["row_shift"]))
            granules = int((down * tensors["granules_across"])[same].max())
            tensors["base_address"][same], tensors["first_granule"][same] = address, granule
            address, granule = address + granules * GRANULE_BYTES, granule + granules
        return replace(self, tensors=tensors, n_granules=granule)

    def key(self) -> bytes:
        """Hash the program to 32 bytes: equal for programs that the engine cannot tell apart."""
        digest = hashlib.sha256(repr((self.dtype, self.n_counters, self.n_granules)).encode())
        digest.update(repr((self.link, self.launch_seconds)).encode())
        for array in (self.tensors, self.blocks, self.steps, self.operands, self.tables):
            digest.update(str(array.shape).encode())
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        return digest.digest()


class Grid:
    """``n_blocks`` blocks of ``n_steps`` steps each; all setters take one value or one per block."""

    def __init__(self, writer: ProgramWriter, n_blocks: int, n_steps: int) -> None:
        self._writer = writer
        self.blocks = np.zeros(n_blocks, BLOCK)
        self.steps = np.zeros((n_blocks, n_steps), STEP)
        self.operands = np.zeros((n_blocks, n_steps, 3), OPERAND)
        for name in ("wait_counter", "signal_counter"):
            self.blocks[name] = NONE
        self.blocks["n_steps"] = n_steps
        self.steps["body"] = 1
        self.steps["repeat"] = 1
        self.steps["kept"] = self.steps["group"] = 1
        self.steps["mask"] = self.steps["mask_table"] = self.steps["state"] = NONE
        self.operands["tensor"] = self.operands["slot"] = self.operands["table"] = NONE

    def resources(self, *, stages: int, l1_bytes: Ints, register_bytes: Ints = 0) -> None:
        """Set how many steps' operands are in flight or in use at a time, and what a block occupies on its core."""
        self.blocks["stages"] = stages
        self.blocks["l1_bytes"] = l1_bytes
        self.blocks["register_bytes"] = register_bytes

    def wait(self, counter: Ints, value: Ints) -> None:
        """Start a block only when a counter has reached a value; the signalling blocks must come earlier."""
        self.blocks["wait_counter"] = counter
        self.blocks["wait_value"] = value

    def signal(self, counter: Ints) -> None:
        """Add one to a counter when a block ends."""
        self.blocks["signal_counter"] = counter

    def loop(self, first: int, n_steps: int, repeat: Ints) -> None:
        """Execute steps ``first`` to ``first + n_steps - 1`` ``repeat`` times."""
        self.steps["body"][:, first] = n_steps
        self.steps["body"][:, first + 1 : first + n_steps] = 0
        self.steps["repeat"][:, first] = repeat

    def matmul(
        self,
        j: int,
        a: Box | Slot,
        b: Box | Slot,
        out: Slot,
        *,
        m: Ints,
        n: Ints,
        k: Ints,
        accumulate: bool = True,
        transpose_a: bool = False,
        transpose_b: bool = False,
        array_m: Ints | None = None,
        array_n: Ints | None = None,
        array_k: Ints | None = None,
        indices: Slot | None = None,
        structure: Structure = DENSE,
    ) -> None:
        """Step ``j``: ``out (+)= a @ b``; the arrays compute ``array_m x array_n x array_k`` products, of which those of
        ``m x n x k`` are kept.

        With N:M ``structure`` ``b`` holds its ``k`` kept rows, ``indices`` their places.
        """
        self._step(j, Op.MATMUL, a, b, out, None, m=m, n=n, k=k)
        self.steps["array_m"][:, j] = m if array_m is None else array_m
        self.steps["array_n"][:, j] = n if array_n is None else array_n
        self.steps["array_k"][:, j] = k if array_k is None else array_k
        self.steps["kept"][:, j], self.steps["group"][:, j] = structure
        self.steps["state"][:, j] = NONE if indices is None else indices.index
        self.steps["accumulate"][:, j] = accumulate
        self.steps["transpose_a"][:, j] = transpose_a
        self.steps["transpose_b"][:, j] = transpose_b

    def vector(
        self,
        j: int,
        function: Function,
        a: Box | Slot,
        out: Slot,
        *,
        m: Ints,
        n: Ints,
        b: Box | Slot | None = None,
        state: Slot | None = None,
        store: Box | None = None,
        parameter: float = 0.0,
        ops_per_element: float | npt.NDArray[np.float64] = 1,
        special_per_element: Reals = 0,
        special_per_row: Reals = 0,
        barriers: int = 0,
        mask: Mask | ElementMasks | None = None,
        structure: Structure = DENSE,
    ) -> None:
        """Step ``j``: ``out = function(a, b)`` on an ``m x n`` tile, stored to ``store`` if given."""
        self._step(j, Op.VECTOR, a, b, out, store, m=m, n=n, k=0)
        step = self.steps[:, j]
        step["function"] = function
        step["parameter"] = parameter
        step["kept"], step["group"] = structure
        step["state"] = NONE if state is None else state.index
        step["barriers"] = barriers
        elements = step["m"] * step["n"]
        step["vector_ops"] = np.ceil(elements * ops_per_element)
        step["special_ops"] = np.ceil(elements * special_per_element + step["m"] * special_per_row)
        if mask is not None:
            step["mask_row_repeat"] = mask.row_repeat
        if isinstance(mask, ElementMasks):
            step["mask_table"] = mask.table
        elif mask is not None:
            step["mask"] = self._writer.mask_index(mask.diagonal)
            step["mask_row"] = mask.row
            step["mask_col"] = mask.col
            step["mask_step_col"] = mask.step_col

    def _step(
        self,
        j: int,
        op: Op,
        a: Box | Slot,
        b: Box | Slot | None,
        out: Slot,
        store: Box | None,
        *,
        m: Ints,
        n: Ints,
        k: Ints,
    ) -> None:
        step = self.steps[:, j]
        step["op"], step["m"], step["n"], step["k"] = op, m, n, k
        self._operand(j, A, a)
        self._operand(j, B, b)
        self._operand(j, OUT, store)
        self.operands["slot"][:, j, OUT] = out.index

    def _operand(self, j: int, which: int, operand: Box | Slot | None) -> None:
        row = self.operands[:, j, which]
        if isinstance(operand, Slot):
            row["slot"], row["col"], row["n_cols"] = operand.index, operand.col, operand.n_cols
        elif operand is not None:
            row["tensor"] = self._writer.tensor_index(operand.tensor)
            for name in OPERAND.names[2:] if OPERAND.names else ():
                row[name] = getattr(operand, name)


@dataclass
class ProgramWriter:
    """Collects the grids of one program."""

    name: str
    kind: str
    shape: str
    dtype: str
    n_counters: int = 0
    dispatch_order: npt.NDArray[np.int64] | None = None
    """Numbers of the blocks in dispatch order, if that is not the order in which they are written."""
    _tensors: list[Tensor] = field(default_factory=list)
    _tables: list[npt.NDArray[np.int64]] = field(default_factory=list)
    _table_length: int = 0
    _masks: list[tuple[int, ...]] = field(default_factory=list)
    _mask_bits: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    _mask_bytes: int = 0
    _grids: list[Grid] = field(default_factory=list)

    def grid(self, n_blocks: int, n_steps: int) -> Grid:
        """Add blocks, which are dispatched after those of earlier grids."""
        grid = Grid(self, n_blocks, n_steps)
        self._grids.append(grid)
        return grid

    def tensor_index(self, tensor: Tensor) -> int:
        """Row of a tensor in the table, which it enters on first use."""
        if tensor not in self._tensors:
            self._tensors.append(tensor)
        return self._tensors.index(tensor)

    def table(self, entries: npt.NDArray[np.int64]) -> int:
        """Append entries to the tables; returns where the first of them stands."""
        first = self._table_length
        self._tables.append(entries)
        self._table_length += len(entries)
        return first

    def mask_index(self, diagonal: int) -> int:
        """Row of a causal mask in the table of masks."""
        record = (int(MaskKind.CAUSAL), diagonal, 0, 0, 0)
        if record not in self._masks:
            self._masks.append(record)
        return self._masks.index(record)

    def element_mask(self, kept: npt.NDArray[np.bool_]) -> int:
        """Row of a new mask in the table of masks; ``kept`` has the shape (queries, keys) of a tile."""
        self._masks.append((int(MaskKind.ELEMENTS), 0, self._mask_bytes, *kept.shape))
        self._mask_bits.append(np.packbits(kept))
        self._mask_bytes += len(self._mask_bits[-1])
        return len(self._masks) - 1

    def finish(self, useful_flops: int) -> TileProgram:
        """Make the program; ``useful_flops`` is what the operator needs, from its shape alone."""
        steps = _joined([grid.steps.ravel() for grid in self._grids])
        operands = _joined([grid.operands.reshape(-1, 3) for grid in self._grids])
        blocks = _joined([grid.blocks for grid in self._grids])
        blocks["first_step"] = np.cumsum(blocks["n_steps"]) - blocks["n_steps"]
        if self.dispatch_order is not None:
            blocks = blocks[self.dispatch_order]
        return TileProgram(
            name=self.name,
            kind=self.kind,
            shape=self.shape,
            dtype=self.dtype,
            tensors=np.array([tensor.record() for tensor in self._tensors], TENSOR),
            blocks=blocks,
            steps=steps,
            operands=operands,
            tables=np.concatenate([np.zeros(0, np.int64), *self._tables]),
            masks=np.array(self._masks, MASK),
            mask_bits=np.concatenate([np.zeros(0, np.uint8), *self._mask_bits]),
            n_counters=self.n_counters,
            n_granules=max(tensor.end_granule for tensor in self._tensors),
            useful_flops=useful_flops,
            tensor_names=tuple(tensor.name for tensor in self._tensors),
        )


def _joined(parts: list[StructArray]) -> StructArray:
    """Join arrays; a single one is returned as it is, since arrays of long programs take longer to copy than to fill."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
