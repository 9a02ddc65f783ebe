"""How far a request is: what has to be computed before its next token."""

from __future__ import annotations

from uarch.jit import inline
from workloads.serving.loop.records import State


@inline
def uncomputed_tokens(state: State, r: int) -> int:
    """Tokens of request ``r`` that have to be computed before its next token: 1 while it is decoded."""
    sequence = state.sequences[r]
    return sequence["input_tokens"] + sequence["generated_tokens"] - sequence["computed_tokens"]


@inline
def is_decode(state: State, r: int) -> bool:
    """Whether the next step of request ``r`` computes the token that it generated last, and nothing else."""
    return state.sequences[r]["generated_tokens"] > 0 and uncomputed_tokens(state, r) == 1


@inline
def pending_tokens(state: State, r: int) -> int:
    """Tokens of request ``r`` that still have to be prefilled, after a preemption those that it had generated included."""
    return 0 if is_decode(state, r) else uncomputed_tokens(state, r)
