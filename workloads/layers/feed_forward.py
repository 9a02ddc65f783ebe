"""A dense feed-forward network as operators: product, activation, product."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.gemm.weights import Weights
from workloads.layers.context import LayerContext
from workloads.layers.layout import Layer, Layout
from workloads.layers.operator import Operator
from workloads.layers.part import LayerPart
from workloads.models.footprint import Footprint
from workloads.models.model import LayerKind, Model
from workloads.models.parallel import Shard
from workloads.settings.phase import Phase


@dataclass(frozen=True)
class FeedForwardWeights:
    """Weights of a feed-forward network: ``hidden x`` (gate and) up, and ``ffn x hidden``."""

    w_in: Weights
    w_out: Weights


class FeedForward(LayerPart[FeedForwardWeights, None]):
    """The network that all tokens visit; its activations are those of :class:`workloads.layers.layout.Buffers`."""

    def serves(self, model: Model, phase: Phase, kind: LayerKind) -> bool:
        """Whether layers of a kind have this variant (:class:`LayerPart`): all without experts."""
        return True

    def allocate(self, layout: Layout, index: int) -> FeedForwardWeights:
        """Allocate weights and caches of a layer; see :class:`LayerPart`."""
        return feed_forward_weights(layout, f"ffn.{index}", layout.shard.ffn)

    def allocate_shared(self, layout: Layout) -> None:
        """Allocate the activations that all layers use in turn; see :class:`LayerPart`."""

    def operators(self, context: LayerContext, layer: Layer) -> list[Operator]:
        """Operators of the part in order of execution; see :class:`LayerPart`."""
        buffers, weights = context.buffers, layer.of(self)
        return [
            context.product("ffn_in", buffers.normed, weights.w_in, buffers.inner),
            context.activation("activation", buffers.inner, buffers.activated),
            context.product("ffn_out", buffers.activated, weights.w_out, context.partial_of(buffers.delta)),
        ]

    def live_elements(self, model: Model, shard: Shard, footprint: Footprint) -> int:
        """Elements of the buffers that are live at once; see :class:`LayerPart`."""
        stream, inner = footprint.tokens * model.hidden, footprint.tokens * shard.ffn
        up = 2 * inner if model.gated_ffn else inner
        return max(
            2 * stream + up,  # into the FFN, from the normed stream
            stream + up + inner,  # activation
            2 * stream + inner,  # out of the FFN
        )


def feed_forward_weights(layout: Layout, name: str, width: int, *, batch: int = 1) -> FeedForwardWeights:
    """Allocate the weights of ``batch`` networks of an inner ``width``."""
    hidden, inputs = layout.model.hidden, 2 if layout.model.gated_ffn else 1
    return FeedForwardWeights(
        layout.weights(f"w_{name}.in", hidden, inputs * width, batch=batch),
        layout.weights(f"w_{name}.out", width, hidden, batch=batch),
    )


def inner_width(layout: Layout, width: int) -> int:
    """Columns that the first product of a network makes: gate and up if it has a gate."""
    return 2 * width if layout.model.gated_ffn else width


FEED_FORWARD = FeedForward()
