"""Variants of the parts of a layer: a line for each.

Of each list a layer has the first variant that serves it; the last one serves all that are left, so that no variant needs to
know of the others.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

from uarch.errors import InputError
from workloads.layers.experts import EXPERTS
from workloads.layers.feed_forward import FEED_FORWARD
from workloads.layers.key_values import KEY_VALUES
from workloads.layers.latent_attention import LATENT_ATTENTION
from workloads.layers.native_sparse import NATIVE_SPARSE
from workloads.layers.part import LayerPart
from workloads.layers.streamed import STREAMED_ATTENTION
from workloads.layers.unfused import UNFUSED_ATTENTION
from workloads.models.model import LayerKind, Model
from workloads.settings.phase import Phase

Part = LayerPart[Any, Any]

INPUTS: tuple[Part, ...] = (LATENT_ATTENTION, KEY_VALUES)
"""Parts that begin an attention, and have its cache; some of them are a whole attention."""
SCHEDULES: tuple[Part, ...] = (NATIVE_SPARSE, UNFUSED_ATTENTION, STREAMED_ATTENTION)
"""Parts that attend to the keys and values of such a cache."""
FEED_FORWARDS: tuple[Part, ...] = (EXPERTS, FEED_FORWARD)


def parts_of(model: Model, phase: Phase, kind: LayerKind) -> tuple[list[Part], list[Part]]:
    """Parts of the attention and of the feed-forward network of a kind of layers, in order of execution."""

    def first(variants: tuple[Part, ...]) -> Part:
        return next(part for part in variants if part.serves(model, phase, kind))

    begin = first(INPUTS)
    return [begin] if begin.is_whole_attention else [begin, first(SCHEDULES)], [first(FEED_FORWARDS)]


def every_part(model: Model, phase: Phase) -> list[Part]:
    """Parts that some layer of a model has in a phase, in order of execution."""
    parts = (part for kind in model.layer_kinds for part in chain(*parts_of(model, phase, kind)))
    order = list(chain(INPUTS, SCHEDULES, FEED_FORWARDS))
    return sorted(set(parts), key=order.index)


def refuse(model: Model, phase: Phase) -> None:
    """Raise :class:`uarch.InputError` for a phase that some part of a model's layers cannot execute.

    A table of learned positions has no rows beyond the last one, while other encodings only lose quality there.
    """
    if model.positions == "learned" and model.max_positions is not None and phase.kv_len > model.max_positions:
        raise InputError(f"seq = {phase.seq}: {model.name} has learned positions; allowed: 1 to {model.max_positions}")
    for part in every_part(model, phase):
        part.refuse(model, phase)


def arrange(model: Model, phase: Phase) -> Phase:
    """The phase with its sequences in the order that the parts of the model's layers want."""
    for part in every_part(model, phase):
        phase = part.arrange(model, phase)
    return phase
