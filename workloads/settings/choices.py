"""Values that options may have, each list once: for the command line, for type checkers and for checks."""

from __future__ import annotations

from typing import Any, Literal, get_args

from uarch.errors import unknown

PhaseName = Literal["prefill", "decode", "verify", "step"]
"""All prompt tokens, one new token each, drafted tokens that are verified, or any mix of prompts, their chunks and decodes."""
KernelPhase = Literal["prefill", "decode"]
"""Phases of attention alone; verification has a kernel of its own."""
Schedule = Literal["flash", "unfused"]
"""Attention in one kernel that streams keys and values, or with the scores in memory between three kernels."""
Logits = Literal["last", "all"]
"""Tokens of each sequence that the LM head sees."""
EngineFidelity = Literal["tile", "burst"]
"""Fidelities that execute programs on the engine: with DRAM serving whole tiles, or bursts."""
KernelFidelity = Literal["analytical", "tile", "burst"]
"""Closed forms, the engine with DRAM serving whole tiles, or the engine with DRAM serving bursts."""
Fidelity = Literal["analytical", "lltile", "tile", "burst"]
"""Fidelities of whole phases; ``lltile`` is LLMCompass's block model."""
Residency = Literal["cold", "inputs", "warm"]
"""What the L2 holds when a kernel starts. ``cold``: nothing. ``inputs``: activations, as the operator before has just written
them; weights and caches are cold. ``warm``: what a previous run of the same kernel leaves."""
Packing = Literal["packed", "padded"]
"""Sequences of different lengths: each as it is, or padded to the longest."""
DraftPacking = Literal["padded", "decomposed"]
"""Drafts on contexts of different lengths: padded to the longest, or long ones cut into pieces that are merged exactly."""


def runs_engine(fidelity: str) -> bool:
    """Tell whether a fidelity executes programs on the engine; others are closed forms or predictors.

    >>> runs_engine("burst"), runs_engine("lltile")
    (True, False)
    """
    return fidelity in get_args(EngineFidelity)


def check_choice(name: str, value: str, choices: Any) -> None:
    """Raise :class:`uarch.InputError` unless ``value`` is one of a ``Literal``'s ``choices``.

    >>> check_choice("phase", "decode", PhaseName)
    """
    if value not in get_args(choices):
        raise unknown(name, value, get_args(choices))
