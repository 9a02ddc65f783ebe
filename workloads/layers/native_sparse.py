"""Native sparse attention in a layer of a model: gates from the hidden state, then the programs of its branches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kernels.attention.kv_storage import PLAIN
from kernels.attention.sequences import uniform
from workloads.layers.attention_job import JobTensors
from workloads.layers.layer_tensors import LayerTensors
from workloads.layers.native_sparse_job import Step, native_sparse_job
from workloads.layers.operator import Operator, Programs

if TYPE_CHECKING:
    from workloads.layers.builder import OperatorBuilder


def native_sparse_operators(builder: OperatorBuilder, tensors: LayerTensors) -> list[Operator]:
    """From queries, keys and values, and the normed stream, to the context of all heads."""
    weights, buffers, shape = tensors.native_sparse, builder.buffers, builder.attention_shape
    assert weights is not None
    assert buffers.native_sparse is not None
    sequences = uniform(shape.batch, shape.q_len, shape.kv_len)
    operands = JobTensors(buffers.q, tensors.k_cache, tensors.v_cache, buffers.context, PLAIN, sequences)
    job = native_sparse_job(shape, builder.phase)
    steps = job.steps(builder.chip, builder.mapper, operands, weights.cache, buffers.native_sparse, buffers.space)
    gates = builder.product("gates", buffers.normed, weights.gate, buffers.native_sparse.gates)
    return [gates, *(Operator(name, "attention", _built(step)) for name, step in steps)]


def _built(step: Step) -> Callable[[], Programs]:
    return lambda: (step()[0],)
