"""Replaying simulated tile programs on random matrices, beside the operator's definition in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kernels.masks.score_masks import CausalMask, ScoreMask
from kernels.program.tile_program import TileProgram
from kernels.replay.interpreter import replay
from uarch.errors import InputError

Matrix = npt.NDArray[np.float64]

MOST_STEPS = 200_000
"""Steps of all blocks that a replay executes at most: each takes tens of microseconds."""
MOST_MACS = 1 << 33
"""Multiply-accumulates that a replay executes at most: some seconds of float64 on a processor."""
TOLERANCE = 1e-9
"""Error up to which a result is the operator's: what the order of float64 additions explains, for values of order one."""


@dataclass(frozen=True)
class Replay:
    """What a replay found."""

    blocks: int
    """Blocks of all programs."""
    steps: int
    """Steps that these blocks executed, repetitions counted."""
    elements: int
    """Elements of the result."""
    largest_error: float
    """Largest absolute difference from the operator's definition; NaN if an element was never written."""
    largest_value: float
    """Largest absolute value of the definition's result."""
    most_writes: int
    """How often the element that was written most often was written: 1 in a schedule that does nothing twice."""

    @property
    def is_right(self) -> bool:
        """Whether every element of the result is the operator's and was written once."""
        return self.most_writes == 1 and self.largest_error <= TOLERANCE * max(1.0, self.largest_value)


def replay_gemm(programs: Sequence[TileProgram], *, batch: int = 1, seed: int = 0) -> Replay:
    """Replay the programs of :func:`workloads.single.gemm.simulate_gemm`: C = A B for each batch entry.

    Raises :class:`uarch.InputError` for a product that is too large, or whose weights are stored in another form.
    """
    memory = _inputs(programs, ("a", "b"), seed)
    a, b = (memory[name].reshape(batch, -1, memory[name].shape[1]) for name in ("a", "b"))
    return _replayed(programs, memory, "c", (a @ b).reshape(-1, b.shape[2]))


def replay_attention(
    programs: Sequence[TileProgram],
    heads: tuple[int, int],
    *,
    batch: int,
    mask: ScoreMask | None = None,
    seed: int = 0,
) -> Replay:
    """Replay the programs of :func:`workloads.single.attention.simulate_attention` on equally long sequences.

    Args:
        programs: in execution order, reading tensors ``q``, ``k`` and ``v`` (latent caches have no ``v``), writing ``out``.
        heads: query heads and key/value heads.
        batch: sequences.
        mask: one that keeps the same scores for every head; None: causal.
        seed: draws the matrices.

    Raises :class:`uarch.InputError` for an operator that is too large, or whose keys and values are not stored plainly.
    """
    mask, (q_heads, kv_heads) = mask or CausalMask(), heads
    if mask.drawn:
        raise InputError("--replay: the mask differs from head to head; allowed: one that is the same for all heads")
    latent = all("v" not in program.tensor_names for program in programs)
    memory = _inputs(programs, ("q", "k") if latent else ("q", "k", "v"), seed)
    q = memory["q"].reshape(batch, -1, kv_heads, q_heads // kv_heads, memory["q"].shape[1] // q_heads)
    k = memory["k"].reshape(batch, -1, kv_heads, memory["k"].shape[1] // kv_heads)
    q_len, kv_len, value_dim = q.shape[1], k.shape[1], _shapes(programs)["out"][1] // q_heads
    v = k[..., :value_dim] if latent else memory["v"].reshape(batch, kv_len, kv_heads, value_dim)
    scores = np.einsum("bqhgd,bkhd->bhgqk", q, k, optimize=True) * q.shape[-1] ** -0.5
    scores[..., ~mask.kept(q_len, kv_len).tile(0, q_len, 0, kv_len)] = -np.inf
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    expected = np.einsum("bhgqk,bkhd->bqhgd", weights, v, optimize=True)
    return _replayed(programs, memory, "out", expected.reshape(batch * q_len, -1))


def _inputs(programs: Sequence[TileProgram], names: Sequence[str], seed: int) -> dict[str, Matrix]:
    """Draw the matrices that programs start from, if these are all that they read and not too large to be replayed."""
    steps, macs = sum(program.dynamic_steps for program in programs), sum(program.macs for program in programs)
    if steps > MOST_STEPS or macs > MOST_MACS:
        raise InputError(
            f"--replay: {steps:,} steps and {macs:,} multiply-accumulates; allowed: {MOST_STEPS:,} and {MOST_MACS:,}"
        )
    shapes = _shapes(programs)
    if not set(names) <= set(shapes) or any(name.startswith(_STORAGE) for name in shapes):
        raise InputError("--replay: operands are stored quantised, sparse or on pages; allowed: plainly stored ones")
    random = np.random.default_rng(seed)
    return {name: random.normal(size=shapes[name]) for name in names}


_STORAGE = ("b.", "kv.")
"""First letters of the names of tensors that hold scales, indices or page tables."""


def _shapes(programs: Sequence[TileProgram]) -> dict[str, tuple[int, int]]:
    """Rows of all batch entries together, and columns, of each tensor by its name."""
    return {
        name: (int(tensor["batch"] * tensor["rows"]), int(tensor["cols"]))
        for program in programs
        for name, tensor in zip(program.tensor_names, program.tensors, strict=True)
    }


def _replayed(programs: Sequence[TileProgram], memory: dict[str, Matrix], name: str, expected: Matrix) -> Replay:
    """Replay ``programs`` one after the other and compare tensor ``name`` with ``expected``."""
    most_writes = 0
    for program in programs:
        written = replay(program, memory)
        most_writes = max(most_writes, *(int(count.max()) for count in written.values()))
    return Replay(
        blocks=sum(len(program.blocks) for program in programs),
        steps=sum(program.dynamic_steps for program in programs),
        elements=expected.size,
        largest_error=float(np.abs(memory[name] - expected).max()),
        largest_value=float(np.abs(expected).max()),
        most_writes=most_writes,
    )
