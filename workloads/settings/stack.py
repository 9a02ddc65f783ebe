"""The software stack as data: what a launch costs, what is fused; the schema of ``workloads/stacks/*.toml``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from uarch.errors import InputError
from uarch.files.reading import find_file, read_toml, unknown_name, validate

_PRESETS = Path(__file__).parent / "stacks"

Seconds = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Overheads(_Table):
    """Host seconds before an operator, by kind; every kind must be given."""

    gemm: Seconds
    attention: Seconds
    """A fused attention kernel, or each batched product of an unfused one."""
    softmax: Seconds
    norm: Seconds
    activation: Seconds
    rope: Seconds
    residual: Seconds
    embedding: Seconds
    lm_head: Seconds
    all_reduce: Seconds
    all_gather: Seconds
    kv_store: Seconds
    """New keys and values to a cache that is paged or stored narrower."""
    permutation: Seconds
    """Copies of tokens to experts, and back."""
    all_to_all: Seconds
    point_to_point: Seconds


class Stack(_Table):
    """A software stack; frozen, hashable and picklable."""

    name: Text
    description: Text
    source: Text
    launch_seconds: Seconds
    """Gap between a kernel and the one before it, whatever its kind."""
    fused_residual: bool
    """The residual addition is part of the norm that follows it."""
    overhead_seconds: Overheads
    collectives: Text = "direct"
    """Communication library; see :mod:`kernels.collectives.libraries`."""

    def launch_overhead_seconds(self, kind: str) -> float:
        """Seconds from the end of one kernel to the start of the next, one of operator ``kind``.

        ``InputError`` for a kind that is not a field of :class:`Overheads`.
        """
        if kind not in OP_KINDS:
            raise InputError(f"operator kind = {kind!r}: {unknown_name(kind, list(OP_KINDS))}")
        overhead: float = getattr(self.overhead_seconds, kind)
        return self.launch_seconds + overhead


OP_KINDS = tuple(Overheads.model_fields)
"""Kinds of operators that a stack knows."""


def stack_names() -> list[str]:
    """Names of the stacks that come with the package, sorted."""
    return sorted(path.stem for path in _PRESETS.glob("*.toml"))


def load_stack(name_or_path: str) -> Stack:
    """Load a preset (see :func:`stack_names`) or a TOML file of the same layout.

    ``InputError`` for an unknown stack, an unreadable or malformed file, and fields that are wrong, missing or unknown.
    """
    path = find_file(name_or_path, _PRESETS, ".toml", "stack")
    return validate(Stack, read_toml(path), f"stack {name_or_path}")
