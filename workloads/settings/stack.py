"""Software stacks as data: what a launch costs, what is fused; the schema of ``workloads/settings/stacks/*.toml``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from uarch.errors import InputError, unknown_name
from uarch.files.presets import Presets
from uarch.files.reading import read_toml, validate
from uarch.files.section import Section

STACKS = Presets("stack", Path(__file__).parent / "stacks")
"""Stacks that come with the package."""

Seconds = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]


class Overheads(Section):
    """Host seconds before an operator, by its kind; a kind that is left out costs ``default``."""

    default: Seconds
    gemm: Seconds | None = None
    attention: Seconds | None = None
    """Fused attention kernel, or each batched product of an unfused one."""
    softmax: Seconds | None = None
    norm: Seconds | None = None
    activation: Seconds | None = None
    rope: Seconds | None = None
    residual: Seconds | None = None
    embedding: Seconds | None = None
    lm_head: Seconds | None = None
    all_reduce: Seconds | None = None
    all_gather: Seconds | None = None
    kv_store: Seconds | None = None
    """Kernel that writes new keys and values to a cache that is paged or stored narrower."""
    permutation: Seconds | None = None
    """Kernel that copies tokens to experts, or back."""
    all_to_all: Seconds | None = None
    point_to_point: Seconds | None = None


OP_KINDS = tuple(name for name in Overheads.model_fields if name != "default")
"""Kinds of operators: a new one is a field of :class:`Overheads`, and needs no other entry."""


class Stack(Section):
    """A software stack; frozen, hashable and picklable."""

    name: Text
    description: Text
    source: Text
    launch_seconds: Seconds
    """Gap between a kernel and the one before it, added to the overhead of its kind."""
    fused_residual: bool
    """Whether the residual addition is part of the norm that follows it."""
    overhead_seconds: Overheads
    step_host_seconds: Seconds = 3e-4
    """Host time between two steps of a serving engine that no step hides: scheduling, sampling, bookkeeping. Assumed, 0.1 to 3
    ms: simulators that leave it out are 17 to 56 % too fast in time to first token."""
    collectives: Text = "direct"
    """Communication library; see :mod:`kernels.collectives.libraries`."""
    vector_kernels: Text = "vectors"
    """Library of norms, activations and the like; see :mod:`kernels.vector.libraries`."""

    def launch_overhead_seconds(self, kind: str) -> float:
        """Seconds from the end of one kernel to the start of the next, one of operator ``kind``.

        Raises :class:`uarch.InputError` for a kind that is not one of ``OP_KINDS``.
        """
        if kind not in OP_KINDS:
            raise InputError(f"operator kind = {kind!r}: {unknown_name(kind, list(OP_KINDS))}")
        given: float | None = getattr(self.overhead_seconds, kind)
        return self.launch_seconds + (self.overhead_seconds.default if given is None else given)


def stack_names() -> list[str]:
    """Names of the stacks that come with the package, sorted."""
    return list(STACKS.names)


def load_stack(name_or_path: str) -> Stack:
    """Load a preset (see :func:`stack_names`) or a TOML file of the same layout.

    ``InputError`` for an unknown stack, an unreadable or malformed file, and fields that are wrong, missing or unknown.
    """
    return validate(Stack, read_toml(STACKS.find(name_or_path)), f"stack {name_or_path}")
