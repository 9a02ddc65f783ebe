"""Kernels without reductions: activation functions and the residual addition, one tile of granules a block."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.program.address_space import Tensor
from kernels.program.tile_program import Grid, ProgramWriter, Slot, TileProgram
from kernels.vector.cutting import Tiles, check_same_shape, cut_granules
from uarch.chip.schema import Chip
from uarch.datatypes import ACCUMULATOR_BYTES
from uarch.errors import InputError
from uarch.program.records import Function


@dataclass(frozen=True)
class _Activation:
    function: Function
    gated: bool
    ops_per_element: int
    special_per_element: int


GELU_OPS, GELU_SPECIAL_OPS = 5, 1
"""Operations of a GELU: square, scale-and-add and multiply for the cubic argument, halve, multiply-add; the tanh is special."""
SILU_OPS, SILU_SPECIAL_OPS = 4, 2
"""Operations of a gated SiLU: scale for the exp, add one, multiply by input and other half; exp and reciprocal are special."""

SOFT_CAP_OPS, SOFT_CAP_SPECIAL_OPS = 2, 1
"""Operations of a soft cap: scale before and after the tanh, which is special."""

_ACTIVATIONS = (
    ("gelu", _Activation(Function.GELU, False, GELU_OPS, GELU_SPECIAL_OPS)),
    ("gelu", _Activation(Function.GELU_MUL, True, GELU_OPS + 1, GELU_SPECIAL_OPS)),
    ("silu", _Activation(Function.SILU_MUL, True, SILU_OPS, SILU_SPECIAL_OPS)),
)


def activation(
    name: str,
    chip: Chip,
    x: Tensor,
    out: Tensor,
    *,
    activation: str,
    gated: bool,
    dtype: str = "fp16",
    issued: float = 0.0,
) -> TileProgram:
    """``out = gelu(x)``, or gated ``out = silu(x[:, :F]) * x[:, F:]`` (or with ``gelu``); ``x`` of 2F, ``out`` of F columns.

    ``issued``: lane-operations per element for which the vector units are taken, if more than the arithmetic.

    Raises:
        InputError: an ``activation`` other than ``gelu`` and gated ``silu``.
    """
    found = [kind for label, kind in _ACTIVATIONS if label == activation and kind.gated == gated]
    if not found:
        allowed = ", ".join(f"{label} ({'' if kind.gated else 'not '}gated)" for label, kind in _ACTIVATIONS)
        raise InputError(f"activation: {activation!r} {'' if gated else 'not '}gated is unknown; allowed are {allowed}")
    if (x.batch * x.rows, x.cols) != (out.batch * out.rows, out.cols * (1 + gated)):
        raise ValueError(f"{name}: shapes of {x.name} and {out.name} do not fit together")
    kind = found[0]
    writer = ProgramWriter(name, "activation", f"{out.batch * out.rows} x {out.cols}", dtype)
    loaded_bits = x.element_bits * (1 + gated)
    tiles = cut_granules(chip, out, bits_per_element=loaded_bits)
    grid = _one_tile_a_block(writer, tiles, loaded_bits)
    grid.vector(
        0,
        kind.function,
        tiles.box(x),
        Slot(0),
        b=tiles.box(x, first_col=out.cols) if gated else None,
        m=tiles.n_rows,
        n=tiles.n_cols,
        store=tiles.box(out),
        ops_per_element=max(kind.ops_per_element, issued),
        special_per_element=kind.special_per_element,
    )
    return writer.finish(0)


def residual(name: str, chip: Chip, hidden: Tensor, delta: Tensor, *, dtype: str = "fp16") -> TileProgram:
    """``hidden += delta``; both ``rows x cols``."""
    check_same_shape(name, hidden, delta)
    writer = ProgramWriter(name, "residual", f"{hidden.batch * hidden.rows} x {hidden.cols}", dtype)
    loaded_bits = hidden.element_bits + delta.element_bits
    tiles = cut_granules(chip, hidden, bits_per_element=loaded_bits)
    grid = _one_tile_a_block(writer, tiles, loaded_bits)
    box = tiles.box(hidden)
    grid.vector(0, Function.ADD, box, Slot(0), b=tiles.box(delta), m=tiles.n_rows, n=tiles.n_cols, store=box)
    return writer.finish(0)


def copy(name: str, chip: Chip, x: Tensor, out: Tensor, *, dtype: str = "fp16") -> TileProgram:
    """``out = x``; both ``rows x cols``."""
    check_same_shape(name, x, out)
    writer = ProgramWriter(name, "copy", f"{x.batch * x.rows} x {x.cols}", dtype)
    tiles = cut_granules(chip, x, bits_per_element=x.element_bits)
    grid = _one_tile_a_block(writer, tiles, x.element_bits)
    grid.vector(0, Function.IDENTITY, tiles.box(x), Slot(0), m=tiles.n_rows, n=tiles.n_cols, store=tiles.box(out))
    return writer.finish(0)


def fill(name: str, chip: Chip, out: Tensor, *, dtype: str = "fp16") -> TileProgram:
    """``out = 0``: a kernel that only writes."""
    writer = ProgramWriter(name, "fill", f"{out.batch * out.rows} x {out.cols}", dtype)
    tiles = cut_granules(chip, out, bits_per_element=out.element_bits)
    grid = _one_tile_a_block(writer, tiles, out.element_bits)
    grid.vector(0, Function.ZERO, Slot(0), Slot(0), m=tiles.n_rows, n=tiles.n_cols, store=tiles.box(out))
    return writer.finish(0)


def read(name: str, chip: Chip, x: Tensor, *, ops_per_element: float = 1.0, dtype: str = "fp16") -> TileProgram:
    """Read ``x`` with ``ops_per_element`` lane-operations for each element and store nothing: a stream with arithmetic."""
    writer = ProgramWriter(name, "read", f"{x.batch * x.rows} x {x.cols}", dtype)
    tiles = cut_granules(chip, x, bits_per_element=x.element_bits)
    grid = _one_tile_a_block(writer, tiles, x.element_bits)
    box = tiles.box(x)
    grid.vector(0, Function.IDENTITY, box, Slot(0), m=tiles.n_rows, n=tiles.n_cols, ops_per_element=ops_per_element)
    return writer.finish(0)


def soft_cap(name: str, chip: Chip, x: Tensor, *, cap: float, dtype: str = "fp16") -> TileProgram:
    """``x = cap * tanh(x / cap)`` in place."""
    writer = ProgramWriter(name, "activation", f"{x.batch * x.rows} x {x.cols}", dtype)
    tiles = cut_granules(chip, x, bits_per_element=x.element_bits)
    grid = _one_tile_a_block(writer, tiles, x.element_bits)
    box = tiles.box(x)
    grid.vector(
        0,
        Function.SOFT_CAP,
        box,
        Slot(0),
        m=tiles.n_rows,
        n=tiles.n_cols,
        store=box,
        parameter=cap,
        ops_per_element=SOFT_CAP_OPS,
        special_per_element=SOFT_CAP_SPECIAL_OPS,
    )
    return writer.finish(0)


def _one_tile_a_block(writer: ProgramWriter, tiles: Tiles, loaded_bits_per_element: int) -> Grid:
    grid = writer.grid(len(tiles.row), 1)
    grid.resources(
        stages=1,
        l1_bytes=-(-tiles.largest * loaded_bits_per_element // 8),
        register_bytes=tiles.largest * ACCUMULATOR_BYTES,
    )
    return grid
