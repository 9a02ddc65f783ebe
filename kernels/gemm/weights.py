"""Weights as they lie in memory: quantised with scales, N:M sparse, or plain.

A ``k x n`` matrix is up to three tensors: the (kept) values, the scales of groups of ``group_size`` rows of a column (or
one scale a column), and for N:M structure the index of every kept value in its group.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from kernels.program.address_space import AddressSpace, Tensor
from kernels.program.tile_program import Ints
from uarch.chip.schema import Chip
from uarch.datatypes import ACCUMULATOR_BYTES, QUANTISED, datatype
from uarch.errors import InputError, must_be
from uarch.systolic.sparsity import DENSE, Structure, index_bits, parse_structure

CONVERT_OPS = 1.0
"""Lane-operations that turn a quantised value into one that the arrays take: four 8-bit or eight 4-bit values at a time cost
about as many instructions (byte permutes, masks, packed subtractions: Kim et al., arXiv 2211.10017)."""
SCALE_OPS = 0.5
"""Lane-operations per value that is multiplied by its scale: one for two packed fp16 values."""
EXPAND_OPS = 1.0
"""Lane-operations per value of the dense matrix, for placing a kept value or a zero; assumed, 0.5 to 2."""


@dataclass(frozen=True)
class WeightFormat:
    """Form in which weights are stored, and in which a kernel uses them."""

    dtype: str
    """Datatype of the values in memory."""
    matrix_dtype: str
    """Datatype of the matrix work; if it differs from ``dtype``, the vector units convert values before they are used."""
    scaled: bool = False
    """Whether values have scales: one for a group of rows, or one a column."""
    group_size: int | None = None
    """Rows of a column that share a scale; None: all of them."""
    structure: Structure = DENSE
    skips_zeros: bool = False
    """Whether the chip's arrays work on kept values only; if not, the vector units put the zeros back."""

    @property
    def is_converted(self) -> bool:
        """Whether values go through the vector units on their way to the arrays."""
        return self.dtype != self.matrix_dtype

    @property
    def is_sparse(self) -> bool:
        """Whether only the kept values are stored."""
        return self.structure.kept < self.structure.group

    @property
    def is_expanded(self) -> bool:
        """Whether zeros are put back before the matrix product."""
        return self.is_sparse and not self.skips_zeros

    @property
    def has_group_scales(self) -> bool:
        """Whether scales change along k, so that they cannot wait for the sum."""
        return self.group_size is not None

    @property
    def scales_columns(self) -> bool:
        """Whether the finished sums of a column are multiplied by its scale."""
        return self.scaled and self.group_size is None

    @property
    def scales_sums(self) -> bool:
        """Whether the arrays take values as they are, and the vector units scale and add the partial sums of each group."""
        return self.has_group_scales and not self.is_converted

    @property
    def steps_per_tile(self) -> int:
        """Steps for one tile of k, each of which loads something."""
        return 1 + self.is_converted + self.is_sparse + self.scales_sums

    @property
    def value_bits(self) -> int:
        """Bits of one stored value."""
        return datatype(self.dtype).bits

    @property
    def scale_bits(self) -> int:
        """Bits of one scale."""
        return datatype(self.dtype).scale_bits

    @property
    def index_bits(self) -> int:
        """Bits of one stored index, a power of two."""
        return 1 << (index_bits(self.structure.group) - 1).bit_length() if self.is_sparse else 0

    def kept(self, k: Ints) -> Ints:
        """Rows that are stored of the first ``k``."""
        kept, group = self.structure
        return k // group * kept + np.minimum(kept, k % group)

    def scale_rows(self, k: int) -> int:
        """Rows of scales of ``k`` rows of weights."""
        if not self.scaled:
            return 0
        return 1 if self.group_size is None else ceil(k / self.group_size)

    def matrix_bits(self, k: int, n: int) -> int:
        """Bits of all that is stored of a ``k x n`` matrix."""
        values = int(self.kept(k)) * n
        return values * (self.value_bits + self.index_bits) + self.scale_rows(k) * n * self.scale_bits

    def tile_bits(self, k: int, n: int) -> int:
        """Bits that a tile of a matrix takes in L1: all but a column's scale, which is loaded at the end."""
        return self.matrix_bits(k, n) - (n * self.scale_bits if self.scales_columns else 0)

    def register_bytes(self, tile_m: int, tile_n: int, tile_k: int) -> int:
        """Slots of a block besides its accumulators."""
        bits = tile_m * tile_n * 8 * ACCUMULATOR_BYTES if self.scales_sums else 0
        if self.is_converted:
            bits += int(self.kept(tile_k)) * tile_n * datatype(self.matrix_dtype).bits
        if self.is_expanded:
            bits += tile_k * tile_n * datatype(self.matrix_dtype).bits
        elif self.is_sparse:
            bits += int(self.kept(tile_k)) * tile_n * self.index_bits
        return ceil(bits / 8)

    def vector_ops(self, m: int, n: int, k: int) -> float:
        """Lane-operations of the vector units for one tile of k."""
        ops = (CONVERT_OPS + SCALE_OPS * self.has_group_scales) * int(self.kept(k)) * n if self.is_converted else 0.0
        ops += EXPAND_OPS * k * n if self.is_expanded else 0.0
        return ops + (m * n if self.scales_sums else 0)

    def allows_tile_k(self, tile_k: int) -> bool:
        """Whether a tile of k holds whole groups of every kind."""
        if tile_k % self.structure.group:
            return False
        if self.scales_sums:
            return tile_k == self.group_size
        return self.group_size is None or tile_k % self.group_size == 0

    def __str__(self) -> str:
        scales = "" if not self.scaled else f" g{self.group_size}" if self.group_size else " per column"
        sparsity = f" {self.structure.kept}:{self.structure.group}" if self.is_sparse else ""
        return f"{self.dtype}{scales}{sparsity}"


def plain(dtype: str) -> WeightFormat:
    """Weights in the datatype of the matrix work, without scales."""
    return WeightFormat(dtype, dtype)


def weight_format(
    chip: Chip,
    dtype: str,
    *,
    weight_dtype: str | None = None,
    group_size: int | None = None,
    sparsity: str | None = None,
) -> WeightFormat:
    """The format of weights on a chip whose matrix work is in ``dtype``.

    ``weight_dtype``: ``dtype`` itself or a narrower one; those of ``QUANTISED`` that are asked for by name have scales.
    ``group_size``: rows that share one; None: what the datatype has
    by default. ``sparsity``: ``N:M``.

    Raises:
        InputError: an unknown or wider datatype, a group size that does not suit, or no N:M.
    """
    stored = weight_dtype or dtype
    if stored != dtype and (stored not in QUANTISED or datatype(stored).bits >= datatype(dtype).bits):
        narrower = [name for name in QUANTISED if datatype(name).bits < datatype(dtype).bits]
        raise InputError(
            f"weight_dtype = {stored!r}: not possible with dtype {dtype}; allowed: {', '.join([dtype, *narrower])}"
        )
    scaled = weight_dtype in QUANTISED
    if group_size is not None and not scaled:
        raise InputError(
            f"group_size = {group_size}: weights in {stored} have no scales; allowed with weight_dtype {', '.join(QUANTISED)}"
        )
    structure = parse_structure(sparsity, "weight_sparsity") if sparsity else DENSE
    if group_size is None:
        group_size = datatype(stored).group_size if scaled else None
    elif datatype(stored).block not in (None, group_size):
        raise must_be("group_size", group_size, f"{datatype(stored).block}, the block of {stored}")
    elif not 32 <= group_size <= 1024 or group_size & (group_size - 1):
        raise must_be("group_size", group_size, "a power of two from 32 to 1024")
    if structure.group > 16 or 32 % structure.group:
        raise InputError(f"weight_sparsity = {sparsity!r}: M must be 1, 2, 4, 8 or 16")
    skips = structure != DENSE and chip.core.systolic.weight_sparsity == f"{structure.kept}:{structure.group}"
    return WeightFormat(stored, dtype, scaled, group_size, structure, skips)


@dataclass(frozen=True)
class Weights:
    """B of a product: a ``k x n`` matrix, or one for every entry of a batch."""

    format: WeightFormat
    values: Tensor
    scales: Tensor | None
    indices: Tensor | None
    k: int
    n: int
    entry: Ints = 0
    """Number of the matrix that each product of a batch takes."""

    @property
    def scale_tensor(self) -> Tensor:
        """Scales of weights whose format has some; ``ValueError`` if it has none."""
        if self.scales is None:
            raise ValueError(f"weights in {self.format} have no scales")
        return self.scales

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors of the weights."""
        return sum(tensor.size_bytes for tensor in (self.values, self.scales, self.indices) if tensor is not None)

    def for_entries(self, entry: Ints) -> Weights:
        """Weights with the number of the matrix that each product of a batch takes."""
        return replace(self, entry=entry)


def allocate_weights(space: AddressSpace, name: str, k: int, n: int, form: WeightFormat, *, batch: int = 1) -> Weights:
    """Tensors ``name``, ``name.scales`` and ``name.indices``, as far as the form has them."""
    kept = int(form.kept(k))
    values = space.allocate(name, kept, n, form.value_bits, batch=batch)
    scales = indices = None
    if form.scaled:
        scales = space.allocate(f"{name}.scales", form.scale_rows(k), n, form.scale_bits, batch=batch)
    if form.is_sparse:
        indices = space.allocate(f"{name}.indices", kept, n, form.index_bits, batch=batch)
    return Weights(form, values, scales, indices, k, n)
