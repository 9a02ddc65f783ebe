"""One kernel without matrix work alone on a chip: norms, activations, softmax, rotary embedding, copies."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kernels.program.address_space import AddressSpace, Tensor
from kernels.program.tile_program import TileProgram
from kernels.vector.by_library import VectorKernels
from kernels.vector.elementwise import copy, residual
from kernels.vector.embedding import embedding
from kernels.vector.libraries import IDEAL, row_kernel
from kernels.vector.new_tokens import NewTokens
from kernels.vector.norm import NORMS
from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.datatypes import MatrixDatatype, datatype
from uarch.errors import unknown
from uarch.program.records import GRANULE_ROW_BYTES, GRANULE_ROWS
from workloads.running.kernel_run import KernelRun, run_programs
from workloads.running.residency import initial_l2
from workloads.settings.choices import KernelFidelity, Residency
from workloads.settings.phase import check_positive
from workloads.single.gemm import check_options, check_space

ROPE_HEAD_DIM = 128
VOCABULARY = 32_000
"""Rows of an embedding table, of which tokens take random ones."""


@dataclass(frozen=True)
class _Site:
    """Where a kernel is built: the chip, the sizes, and memory for its tensors."""

    chip: Chip
    rows: int
    cols: int
    dtype: str
    space: AddressSpace
    library: str

    @property
    def kernels(self) -> VectorKernels:
        """Kernels of the library."""
        return VectorKernels(self.chip, self.library)

    def tensor(self, name: str, rows: int = 0, cols: int = 0, *, granule_rows: int = GRANULE_ROWS) -> Tensor:
        """A tensor, ``rows x cols`` of the kernel unless given."""
        bits = datatype(self.dtype).bits
        return self.space.allocate(name, rows or self.rows, cols or self.cols, bits, granule_rows=granule_rows)


_Built = tuple[TileProgram, list[Tensor]]
"""A program and the activations that it reads."""


def _residual_add(site: _Site) -> _Built:
    hidden, delta = site.tensor("hidden"), site.tensor("delta")
    return residual("residual_add", site.chip, hidden, delta, dtype=site.dtype), [delta]


def _norm(kind: str) -> Callable[[_Site], _Built]:
    def build(site: _Site) -> _Built:
        x, weights, out = site.tensor("x"), site.tensor("weights", NORMS[kind].weight_rows), site.tensor("out")
        read = [x, weights] if row_kernel(site.library, kind, site.chip) else [x]
        return site.kernels.norm(kind, x, weights, out, norm=kind, eps=1e-5, dtype=site.dtype), read

    return build


def _activation(kind: str, *, gated: bool) -> Callable[[_Site], _Built]:
    def build(site: _Site) -> _Built:
        x, out = site.tensor("x", cols=site.cols * (1 + gated)), site.tensor("out")
        name = "silu_mul" if gated and row_kernel(site.library, "silu_mul", site.chip) else kind
        return site.kernels.activation(name, x, out, activation=kind, gated=gated, dtype=site.dtype), [x]

    return build


def _softmax(site: _Site) -> _Built:
    x, out = site.tensor("x"), site.tensor("out")
    return site.kernels.softmax("softmax", x, out, scale=1.0, causal_diagonal=None, dtype=site.dtype), [x]


def _copy(site: _Site) -> _Built:
    x, out = site.tensor("x"), site.tensor("out")
    return copy("copy", site.chip, x, out, dtype=site.dtype), [x]


def _rope(site: _Site) -> _Built:
    """Columns are those of Q and K together; how they are shared out hardly matters, so K gets one head."""
    head_dim = ROPE_HEAD_DIM if site.cols > ROPE_HEAD_DIM else site.cols // 2
    head_dim -= head_dim % 2
    q, k = site.tensor("q", cols=site.cols - head_dim), site.tensor("k", cols=head_dim)
    table = site.tensor("table", cols=head_dim)
    tokens = NewTokens.uniform(1, site.rows, site.rows)
    return site.kernels.rope("rope", q, k, table, tokens=tokens, dtype=site.dtype), [table, q, k]


def _embedding(site: _Site) -> _Built:
    table, out = site.tensor("table", VOCABULARY, granule_rows=1), site.tensor("out")
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, site.rows)
    return embedding("embedding", site.chip, tokens, table, out, first_id=0, dtype=site.dtype), []


_BUILDERS: dict[str, Callable[[_Site], _Built]] = {
    "residual_add": _residual_add,
    "rmsnorm": _norm("rmsnorm"),
    "layernorm": _norm("layernorm"),
    "rope": _rope,
    "silu_mul": _activation("silu", gated=True),
    "gelu": _activation("gelu", gated=False),
    "softmax": _softmax,
    "embedding": _embedding,
    "copy": _copy,
}
VECTOR_KERNELS = tuple(_BUILDERS)
_POINTWISE = ("residual_add", "gelu", "copy")
_POINTWISE_COLS = 8192


def simulate_vector_kernel(
    chip: Chip | str,
    op: str,
    rows: int,
    cols: int,
    *,
    dtype: MatrixDatatype = "fp16",
    fidelity: KernelFidelity = "tile",
    residency: Residency = "cold",
    library: str = IDEAL,
) -> KernelRun:
    """Run one of :data:`VECTOR_KERNELS` whose result has ``rows x cols`` elements.

    ``silu_mul`` reads twice as many columns as it writes; ``rope`` works in place on ``cols`` columns of queries and keys.
    ``library``: who wrote the kernel, one of :func:`kernels.vector.libraries.vector_library_names`. ``chip``, ``fidelity`` and
    ``residency`` as in :func:`workloads.single.gemm.simulate_gemm`.

    Raises :class:`uarch.InputError` for an unknown name, a size that is not allowed, or operands that do not fit the chip.
    """
    chip = load_chip(chip) if isinstance(chip, str) else chip
    if op not in VECTOR_KERNELS:
        raise unknown("op", op, VECTOR_KERNELS)
    check_options(dtype, fidelity, residency)
    if op in _POINTWISE:
        rows, cols = _folded(rows, cols)
    rows, cols = check_positive(rows=rows, cols=cols)
    site = _Site(chip, rows, cols, dtype, AddressSpace(), library)
    program, inputs = _BUILDERS[op](site)
    check_space(chip, f"{op} {rows} x {cols}", site.space)
    l2 = initial_l2(chip, residency, fidelity, inputs, [program])
    return run_programs(chip, op, f"{rows} x {cols}", fidelity, [(program, None)], l2)


def _folded(rows: int, cols: int) -> tuple[int, int]:
    """Few long rows of a kernel that does not know rows as a matrix of the same elements, if they can be split evenly."""
    width = math.gcd(cols, _POINTWISE_COLS)
    return (rows * (cols // width), width) if cols > _POINTWISE_COLS and width >= GRANULE_ROW_BYTES else (rows, cols)
