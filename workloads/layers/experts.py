"""A mixture of experts as operators: router, permutation, exchange, grouped products, and the weighted sum."""

from __future__ import annotations

from dataclasses import dataclass

from kernels.experts.all_to_all import Exchange, Segments, all_to_all
from kernels.experts.permutation import permute, unpermute
from kernels.experts.router import top_k
from kernels.experts.routing import Routing
from kernels.gemm.gemm import GemmMapping, GroupedShape, grouped_gemm
from kernels.gemm.weights import Weights
from kernels.program.address_space import Tensor
from kernels.program.tile_program import TileProgram
from workloads.layers.context import LayerContext
from workloads.layers.feed_forward import FeedForwardWeights, feed_forward_weights, inner_width
from workloads.layers.layout import Layer, Layout
from workloads.layers.operator import Operator
from workloads.layers.part import LayerPart
from workloads.models.footprint import Footprint
from workloads.models.model import Experts, LayerKind, Model
from workloads.models.parallel import Shard
from workloads.settings.expert_load import parse_load
from workloads.settings.phase import Phase

_ROUTING_BITS = 32


@dataclass(frozen=True, eq=False)
class ExpertRouting:
    """The routing of a run for the chip that receives most rows, which is the one that is simulated."""

    exchange: Exchange
    rank: int

    @property
    def own(self) -> Routing:
        """Routing of the chip's own tokens."""
        return self.exchange.routings[self.rank]

    @property
    def rows(self) -> tuple[int, ...]:
        """Rows of each expert that it holds."""
        return self.exchange.rows(self.rank)

    @property
    def imbalance(self) -> float:
        """Rows that it computes, over the mean of all chips."""
        mean = sum(sum(self.exchange.rows(rank)) for rank in range(self.exchange.ranks)) / self.exchange.ranks
        return sum(self.rows) / mean

    @property
    def dispatch(self) -> Segments:
        """Rows that it pulls from its peers before the experts."""
        return self.exchange.dispatch(self.rank)

    @property
    def combine(self) -> Segments:
        """Rows that its peers pull back from it, which are no fewer than it pulls itself: one chip stands for both ends."""
        return self.dispatch.reversed()


def route(experts: Experts, shard: Shard, phase: Phase) -> ExpertRouting:
    """Route the tokens of every one of ``shard.ep`` groups as the phase says; ``phase`` is one group's part."""
    tokens = phase.tokens
    every = parse_load(phase.expert_load).routing(tokens * shard.ep, experts.count, experts.top_k, phase.seed)
    exchange = Exchange(tuple(every.part(rank * tokens, tokens) for rank in range(shard.ep)))
    return ExpertRouting(exchange, exchange.busiest_rank)


@dataclass(frozen=True)
class ExpertTensors:
    """Weights of a layer: the routed experts that this chip holds are a batch of weights."""

    router: Tensor
    routed: FeedForwardWeights
    shared: FeedForwardWeights | None
    """Weights of the experts that every token visits, if there are any."""


@dataclass(frozen=True)
class SharedExpertBuffers:
    """Activations of the experts that every token visits."""

    inner: Tensor
    activated: Tensor
    out: Tensor


@dataclass(frozen=True)
class ExpertBuffers:
    """Activations that layers share, and where rows go; rows are copies of tokens."""

    routing: ExpertRouting
    scores: Tensor
    gates: Tensor
    """Weights of a token's experts, then their numbers."""
    permuted: Tensor
    """This chip's tokens, sorted by expert."""
    received: Tensor
    """Rows of this chip's experts; ``permuted`` if it holds all."""
    inner: Tensor
    activated: Tensor
    results: Tensor
    """Results of the received rows."""
    returned: Tensor
    """Results for this chip's tokens; ``results`` if it holds all experts."""
    shared: SharedExpertBuffers | None


class ExpertPart(LayerPart[ExpertTensors, ExpertBuffers]):
    """A mixture of experts in place of a dense feed-forward network."""

    def serves(self, model: Model, phase: Phase, kind: LayerKind) -> bool:
        """Whether layers of a kind have this variant; see :class:`LayerPart`."""
        return kind.has_experts

    def allocate(self, layout: Layout, index: int) -> ExpertTensors:
        """Allocate weights and caches of a layer; see :class:`LayerPart`."""
        shard, experts = layout.shard, sizes_of(layout.model)
        width = shard.shared_ffn
        return ExpertTensors(
            router=layout.matrix(f"w_router.{index}", layout.model.hidden, experts.count),
            routed=feed_forward_weights(layout, f"experts.{index}", shard.expert_ffn, batch=shard.experts),
            shared=feed_forward_weights(layout, f"shared_experts.{index}", width) if width else None,
        )

    def allocate_shared(self, layout: Layout) -> ExpertBuffers:
        """Allocate the activations that all layers use in turn; see :class:`LayerPart`."""
        experts, shard, tokens = sizes_of(layout.model), layout.shard, layout.phase.tokens
        routing = route(experts, shard, layout.phase)
        copies, rows, hidden = tokens * experts.top_k, sum(routing.rows), layout.model.hidden
        permuted = layout.matrix("permuted", copies, hidden)
        received = layout.matrix("received", rows, hidden) if shard.ep > 1 else permuted
        results = layout.matrix("expert_results", rows, hidden)
        return ExpertBuffers(
            routing=routing,
            scores=layout.space.allocate("router_scores", tokens, experts.count, _ROUTING_BITS),
            gates=layout.space.allocate("gates", tokens, 2 * experts.top_k, _ROUTING_BITS),
            permuted=permuted,
            received=received,
            inner=layout.matrix("expert_inner", rows, inner_width(layout, shard.expert_ffn)),
            activated=layout.matrix("expert_activated", rows, shard.expert_ffn),
            results=results,
            returned=layout.matrix("returned", copies, hidden) if shard.ep > 1 else results,
            shared=_shared_buffers(layout) if shard.shared_ffn else None,
        )

    def operators(self, context: LayerContext, layer: Layer) -> list[Operator]:
        """Operators of the part in order of execution; see :class:`LayerPart`."""
        return self.operators_into(context, layer, context.partial_of(context.buffers.delta))

    def operators_into(self, context: LayerContext, layer: Layer, out: Tensor) -> list[Operator]:
        """Operators from the normed stream to ``out``: this chip's part of what the experts add to the stream."""
        tensors, buffers = layer.of(self), context.buffers.of(self)
        chip, dtype, normed = context.chip, context.phase.dtype, context.buffers.normed.as_rows()
        routing, k = buffers.routing, sizes_of(context.model).top_k
        gates = top_k("top_k", chip, buffers.scores, buffers.gates, k=k, dtype=dtype)
        sorted_copies = permute("permute", chip, routing.own, normed, buffers.permuted, dtype=dtype)
        shared = buffers.shared.out if buffers.shared else None
        summed = unpermute(
            "unpermute", chip, routing.own, buffers.returned, buffers.gates, out, shared=shared, dtype=dtype
        )
        return [
            context.product("router", context.buffers.normed, tensors.router, buffers.scores),
            Operator("top_k", "softmax", (gates,)),
            *_shared(context, tensors, buffers),
            Operator("permute", "permutation", (sorted_copies,)),
            *_exchange(context, "dispatch", routing, routing.dispatch, buffers.permuted, buffers.received),
            *_routed(context, tensors.routed, buffers),
            *_exchange(context, "combine", routing, routing.combine, buffers.results, buffers.returned),
            Operator("unpermute", "permutation", (summed,)),
        ]

    def live_elements(self, model: Model, shard: Shard, footprint: Footprint) -> int:
        """Elements of the buffers that are live at once (:class:`LayerPart`): there are as many rows as copies of tokens."""
        experts, tokens = model.experts, footprint.tokens
        if experts is None:
            return 0
        copies, inputs = tokens * experts.top_k, 2 if model.gated_ffn else 1
        beside = 3 * tokens * model.hidden if shard.shared_ffn else 2 * tokens * model.hidden
        exchanged = 2 if shard.ep > 1 else 1
        return beside + copies * max(exchanged * model.hidden + inputs * shard.expert_ffn, 2 * model.hidden)


def sizes_of(model: Model) -> Experts:
    """Sizes of a model's experts; ``ValueError`` if it has none."""
    if model.experts is None:
        raise ValueError(f"{model.name} has no experts")
    return model.experts


def _shared_buffers(layout: Layout) -> SharedExpertBuffers:
    tokens, width = layout.phase.tokens, layout.shard.shared_ffn
    return SharedExpertBuffers(
        inner=layout.matrix("shared_inner", tokens, inner_width(layout, width)),
        activated=layout.matrix("shared_activated", tokens, width),
        out=layout.matrix("shared_out", tokens, layout.model.hidden),
    )


def _routed(context: LayerContext, weights: FeedForwardWeights, buffers: ExpertBuffers) -> list[Operator]:
    rows, model = buffers.routing.rows, context.model
    activated = context.vector_kernels.activation(
        "expert_activation",
        buffers.inner,
        buffers.activated,
        activation=model.activation,
        gated=model.gated_ffn,
        dtype=context.phase.dtype,
    )
    return [
        _grouped(context, "experts_in", rows, buffers.received, weights.w_in, buffers.inner),
        Operator("expert_activation", "activation", (activated,)),
        _grouped(context, "experts_out", rows, buffers.activated, weights.w_out, buffers.results),
    ]


def _grouped(
    context: LayerContext, name: str, rows: tuple[int, ...], x: Tensor, weights: Weights, out: Tensor
) -> Operator:
    shape, dtype, space = GroupedShape(rows, weights.n, weights.k), context.phase.dtype, context.space

    def build(mapping: GemmMapping) -> TileProgram:
        return grouped_gemm(name, shape, x, weights, out, mapping, space, dtype=dtype)

    return Operator(name, "gemm", (build(context.mapper.gemm(shape, build, weights=weights.format)),))


def _shared(context: LayerContext, tensors: ExpertTensors, buffers: ExpertBuffers) -> list[Operator]:
    """Experts that every token visits, if there are any."""
    if tensors.shared is None or buffers.shared is None:
        return []
    inner, activated, weights = buffers.shared.inner, buffers.shared.activated, tensors.shared
    return [
        context.product("shared_in", context.buffers.normed, weights.w_in, inner),
        context.activation("shared_activation", inner, activated),
        context.product("shared_out", activated, weights.w_out, buffers.shared.out),
    ]


def _exchange(
    context: LayerContext, name: str, routing: ExpertRouting, segments: Segments, x: Tensor, out: Tensor
) -> list[Operator]:
    """Between the chips that hold the experts; nothing if this one holds all."""
    ranks = context.shard.ep
    if ranks == 1:
        return []
    program = all_to_all(
        name, context.chip, segments, x, out, rank=routing.rank, ranks=ranks, dtype=context.phase.dtype
    )
    return [Operator(name, "all_to_all", (program,))]


EXPERTS = ExpertPart()
