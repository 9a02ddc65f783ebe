"""What every variant of a part of a layer has to say of itself.

A layer is an attention and a feed-forward network, each made of one or two parts. A variant of a part (grouped queries,
latents, native sparse attention, experts, ...) is one module of this folder and one line in
:mod:`workloads.layers.registry`; nothing else knows which variants there are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from workloads.layers.context import LayerContext
from workloads.layers.layout import Layer, LayerT, Layout, SharedT, TensorOwner
from workloads.layers.operator import Operator
from workloads.models.footprint import Footprint
from workloads.models.model import LayerKind, Model
from workloads.models.parallel import Shard
from workloads.settings.phase import Phase


class LayerPart(TensorOwner[LayerT, SharedT], ABC):
    """A variant of a part of a layer: ``LayerT`` are its weights and caches in a layer, ``SharedT`` its activations."""

    is_whole_attention: ClassVar[bool] = False
    """Whether a part that begins an attention ends it too, so that no schedule follows it."""

    @abstractmethod
    def serves(self, model: Model, phase: Phase, kind: LayerKind) -> bool:
        """Whether layers of a kind have this variant in a phase, if none before it in its list has them."""

    def refuse(self, model: Model, phase: Phase) -> None:
        """Raise :class:`uarch.InputError` for what the variant cannot do; by default it can do all."""

    def arrange(self, model: Model, phase: Phase) -> Phase:
        """The phase with its sequences in the order that the variant wants; by default as they are."""
        return phase

    @abstractmethod
    def allocate(self, layout: Layout, index: int) -> LayerT:
        """Allocate weights and caches of layer ``index``."""

    @abstractmethod
    def allocate_shared(self, layout: Layout) -> SharedT:
        """Allocate the activations that all layers use one after the other, besides those of :class:`Buffers`."""

    @abstractmethod
    def operators(self, context: LayerContext, layer: Layer) -> list[Operator]:
        """Operators of the part in order of execution.

        Attention goes from the normed stream to the context of all heads, a feed-forward network from the normed stream to
        what this chip adds to the stream.
        """

    @abstractmethod
    def live_elements(self, model: Model, shard: Shard, footprint: Footprint) -> int:
        """Elements of the largest set of buffers that is live at once while the part executes.

        These are an operator's inputs and outputs, the residual stream, and what a later operator of the layer still reads.
        """
