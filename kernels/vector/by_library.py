"""Vector kernels as the library of a software stack writes them for a chip."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.program.address_space import Tensor
from kernels.program.tile_program import TileProgram
from kernels.vector import elementwise, rope, row_walk, softmax
from kernels.vector import norm as norms
from kernels.vector.libraries import IDEAL, row_kernel
from kernels.vector.new_tokens import NewTokens
from uarch.chip.schema import Chip


@dataclass(frozen=True)
class VectorKernels:
    """Builder of vector kernels: each as ``library`` writes it, or ideally where the library, or the chip, has none of its own.

    Building one raises :class:`uarch.InputError` for an unknown library, and as the function of the ideal kernel does.
    """

    chip: Chip
    library: str = IDEAL
    """Name or path of the library; see :func:`kernels.vector.libraries.vector_library_names`."""

    def norm(
        self,
        name: str,
        x: Tensor,
        weights: Tensor,
        out: Tensor,
        *,
        norm: str,
        eps: float,
        delta: Tensor | None = None,
        dtype: str = "fp16",
    ) -> TileProgram:
        """``out = norm(x)``, with ``delta`` after ``x += delta``: see :func:`kernels.vector.norm.norm`."""
        if kernel := row_kernel(self.library, norm, self.chip):
            return row_walk.row_norm(
                name, self.chip, x, weights, out, kernel, norm=norm, eps=eps, delta=delta, dtype=dtype
            )
        return norms.norm(name, self.chip, x, weights, out, norm=norm, eps=eps, delta=delta, dtype=dtype)

    def activation(
        self, name: str, x: Tensor, out: Tensor, *, activation: str, gated: bool, dtype: str = "fp16"
    ) -> TileProgram:
        """``out = activation(x)``, gated or not: see :func:`kernels.vector.elementwise.activation`."""
        is_silu_mul = gated and activation == "silu"
        if is_silu_mul and (kernel := row_kernel(self.library, "silu_mul", self.chip)):
            return row_walk.row_silu_mul(name, self.chip, x, out, kernel, dtype=dtype)
        issued = 0.0 if gated else self.issued(activation)
        return elementwise.activation(
            name, self.chip, x, out, activation=activation, gated=gated, dtype=dtype, issued=issued
        )

    def rope(
        self,
        name: str,
        q: Tensor,
        k: Tensor,
        table: Tensor,
        *,
        tokens: NewTokens,
        first_key: int = 0,
        dtype: str = "fp16",
    ) -> TileProgram:
        """Rotate the queries and keys of new tokens in place: see :func:`kernels.vector.rope.rope`."""
        if kernel := row_kernel(self.library, "rope", self.chip):
            return row_walk.row_rope(name, self.chip, q, k, table, kernel, tokens, first_key=first_key, dtype=dtype)
        return rope.rope(name, self.chip, q, k, table, tokens=tokens, first_key=first_key, dtype=dtype)

    def softmax(
        self,
        name: str,
        scores: Tensor,
        out: Tensor,
        *,
        scale: float,
        causal_diagonal: int | None,
        row_repeat: int = 1,
        dtype: str = "fp16",
    ) -> TileProgram:
        """``out = softmax(scale * scores)`` along rows: see :func:`kernels.vector.softmax.softmax`."""
        return softmax.softmax(
            name,
            self.chip,
            scores,
            out,
            scale=scale,
            causal_diagonal=causal_diagonal,
            row_repeat=row_repeat,
            dtype=dtype,
            issued=self.issued("softmax"),
        )

    def issued(self, op: str) -> float:
        """Lane-operations per element that the library's kernel for ``op`` issues; 0 for an ideal one."""
        kernel = row_kernel(self.library, op, self.chip)
        return kernel.lane_ops(self.chip) if kernel else 0.0
