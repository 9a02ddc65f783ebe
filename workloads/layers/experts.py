"""A mixture of experts as operators: router, permutation, exchange, grouped products, and the weighted sum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernels.experts.all_to_all import Segments, all_to_all
from kernels.experts.permutation import permute, unpermute
from kernels.experts.router import top_k
from kernels.gemm.gemm import GemmMapping, GroupedShape, grouped_gemm
from kernels.gemm.weights import Weights
from kernels.program.address_space import Tensor
from kernels.program.tile_program import TileProgram
from kernels.vector.elementwise import activation
from workloads.layers.buffers import ExpertBuffers
from workloads.layers.expert_exchange import ExpertRouting
from workloads.layers.layer_tensors import ExpertTensors, FfnTensors
from workloads.layers.operator import Operator

if TYPE_CHECKING:
    from workloads.layers.builder import OperatorBuilder


def expert_operators(builder: OperatorBuilder, tensors: ExpertTensors, out: Tensor) -> list[Operator]:
    """From the normed stream to ``out``, this chip's part of what the experts add to the stream."""
    buffers, routing, experts = builder.buffers.experts, builder.routing, builder.model.experts
    assert buffers is not None
    assert routing is not None
    assert experts is not None
    chip, dtype, normed = builder.chip, builder.phase.dtype, builder.buffers.normed.as_rows()
    gates = top_k("top_k", chip, buffers.scores, buffers.gates, k=experts.top_k, dtype=dtype)
    sorted_copies = permute("permute", chip, routing.own, normed, buffers.permuted, dtype=dtype)
    summed = unpermute(
        "unpermute", chip, routing.own, buffers.returned, buffers.gates, out, shared=buffers.shared_out, dtype=dtype
    )
    return [
        builder.product("router", builder.buffers.normed, tensors.router, buffers.scores),
        Operator("top_k", "softmax", (gates,)),
        *(_shared(builder, tensors.shared, buffers) if tensors.shared else []),
        Operator("permute", "permutation", (sorted_copies,)),
        *_exchange(builder, "dispatch", routing.dispatch, buffers.permuted, buffers.received),
        *_routed(builder, tensors.routed, buffers, routing),
        *_exchange(builder, "combine", routing.combine, buffers.results, buffers.returned),
        Operator("unpermute", "permutation", (summed,)),
    ]


def _routed(
    builder: OperatorBuilder, tensors: FfnTensors, buffers: ExpertBuffers, routing: ExpertRouting
) -> list[Operator]:
    model, chip, dtype = builder.model, builder.chip, builder.phase.dtype
    activated = activation(
        "expert_activation",
        chip,
        buffers.inner,
        buffers.activated,
        activation=model.activation,
        gated=model.gated_ffn,
        dtype=dtype,
    )
    return [
        _grouped(builder, "experts_in", routing.rows, buffers.received, tensors.w_in, buffers.inner),
        Operator("expert_activation", "activation", (activated,)),
        _grouped(builder, "experts_out", routing.rows, buffers.activated, tensors.w_out, buffers.results),
    ]


def _grouped(
    builder: OperatorBuilder, name: str, rows: tuple[int, ...], x: Tensor, weights: Weights, out: Tensor
) -> Operator:
    shape, dtype, space = GroupedShape(rows, weights.n, weights.k), builder.phase.dtype, builder.buffers.space

    def build(mapping: GemmMapping) -> TileProgram:
        return grouped_gemm(name, shape, x, weights, out, mapping, space, dtype=dtype)

    return Operator(name, "gemm", (build(builder.mapper.gemm(shape, build, weights=weights.format)),))


def _shared(builder: OperatorBuilder, tensors: FfnTensors, buffers: ExpertBuffers) -> list[Operator]:
    inner, activated, out = buffers.shared_inner, buffers.shared_activated, buffers.shared_out
    assert inner is not None
    assert activated is not None
    assert out is not None
    return builder.feed_forward("shared", tensors, inner, activated, out)


def _exchange(builder: OperatorBuilder, name: str, segments: Segments, x: Tensor, out: Tensor) -> list[Operator]:
    """Between the chips that hold the experts; nothing if this one holds all."""
    routing = builder.routing
    if builder.shard.ep == 1 or routing is None:
        return []
    program = all_to_all(
        name, builder.chip, segments, x, out, rank=routing.rank, ranks=builder.shard.ep, dtype=builder.phase.dtype
    )
    return [Operator(name, "all_to_all", (program,))]
