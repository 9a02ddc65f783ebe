"""A model on a chip: the phase's operators executed one after the other, rolled up into a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import uarch
from kernels.kv_storage import KV_BITS
from kernels.mapper import Mapper
from kernels.weights import weight_format
from results.rollup import rollup
from results.schema import layer_table
from results.trace import Trace
from uarch.chip import Chip
from uarch.chip_file import load_chip
from uarch.energy_account import component_ranges
from uarch.errors import InputError
from uarch.l2 import L2State
from workloads.buffers import allocate
from workloads.capacity import check_fits
from workloads.execution import OUTSIDE_LAYERS, Executor, in_sequence, peaks_of
from workloads.expert_exchange import route
from workloads.expert_load import parse_load
from workloads.layer_plan import simulated_layers, stand_ins
from workloads.model import load_model
from workloads.model_shape import Model
from workloads.operators import OperatorBuilder, attention_shape
from workloads.parallel import check_parallel
from workloads.phase import Phase
from workloads.stack import Stack, load_stack
from workloads.timeline import Sink, limit_of, open_timeline


def simulate(
    chip: Chip | str,
    model: Model | str,
    phase: str,
    *,
    batch: int,
    seq: int,
    tp: int = 1,
    dtype: str = "fp16",
    attention: str = "flash",
    stack: Stack | str = "graph",
    fidelity: str = "tile",
    seed: int = 0,
    ep: int = 1,
    weight_dtype: str | None = None,
    group_size: int | None = None,
    weight_sparsity: str | None = None,
    expert_load: str = "uniform",
    logits: str = "last",
    timeline_limit: int = 0,
    record: Sink | None = None,
    mask: str | None = None,
    kv_dtype: str | None = None,
    page_size: int = 0,
    draft: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> Trace:
    """Run a phase of a model on one chip of a tensor-parallel group.

    ``phase``: ``prefill`` of ``batch`` prompts of ``seq`` tokens, one ``decode`` step at a context of ``seq`` tokens (the new
    one included), or the verification (``verify``) of drafted tokens at the end of such contexts. ``chip``, ``model`` and
    ``stack`` are objects, names of presets, or paths of files.
    ``attention``: ``flash`` or ``unfused``; ``fidelity``: ``analytical``, ``tile`` or ``burst``. ``seed`` draws the token
    ids whose embeddings are read.
    ``ep`` groups of ``tp`` chips share out the batch and the routed experts; the chip that receives most tokens is simulated.
    ``weight_dtype``, ``group_size``, ``weight_sparsity``: how weights are stored (see :func:`kernels.weights.weight_format`),
    all but embeddings, LM head, norms and routers. ``expert_load``: see :func:`workloads.expert_load.parse_load`.
    ``logits``: of the ``last`` token of each sequence, or of ``all``.
    ``mask``: of layers without a window of their own, see :func:`workloads.mask_option.parse_mask`. ``kv_dtype`` and
    ``page_size`` of the KV cache. ``draft``: what phase ``verify`` verifies of each sequence, see
    :func:`workloads.mask_option.parse_draft`.
    ``timeline_limit``: intervals to record of what the cores do, of the layers that are simulated; they are in the trace, or
    if ``record`` is given it is called with them, part by part (dtype ``TIMELINE_DTYPE``), and they are nowhere else.
    ``progress`` is called with the name of each part (see :func:`parts_of`) before it is simulated.

    Pure: the trace depends on the arguments alone. Layers of equal kind after layers of equal kind are simulated once, as
    they find the L2 after the layer before (see :func:`workloads.layer_plan.stand_ins`).

    Raises :class:`uarch.InputError` for an unknown name, a size that is not allowed, or a model that does not fit.
    """
    chip = load_chip(chip) if isinstance(chip, str) else chip
    model = load_model(model) if isinstance(model, str) else model
    stack = load_stack(stack) if isinstance(stack, str) else stack
    work = Phase(
        phase,
        batch,
        seq,
        tp,
        dtype,
        attention,
        fidelity,
        seed,
        ep,
        weight_dtype,
        group_size,
        weight_sparsity,
        expert_load,
        logits,
        mask,
        kv_dtype,
        page_size,
        draft,
    )
    shard = check_parallel(model, tp, ep)
    _check_attention(model, work)
    form = weight_format(chip, dtype, weight_dtype=weight_dtype, group_size=group_size, sparsity=weight_sparsity)
    part = work.of_group()
    check_fits(
        chip,
        model,
        batch=part.batch,
        kv_len=part.kv_len,
        tokens=part.tokens,
        tp=tp,
        dtype_bits=part.element_bits,
        unfused=part.unfused,
        logit_tokens=part.logit_tokens,
        ep=ep,
        weights=form,
        kv_bits=KV_BITS[part.stored_dtype],
    )
    routing = route(model, shard, part.tokens, parse_load(expert_load), seed)
    buffers = allocate(model, shard, part, attention_shape(model, shard, part), form, routing)
    mapper = Mapper(chip, dtype, on_engine=fidelity != "analytical")
    timeline, recorded = open_timeline(timeline_limit, fidelity, record)
    builder = OperatorBuilder(chip, model, shard, part, stack, buffers, mapper, routing)
    rows = _execute(builder, Executor(chip, stack, fidelity, timeline), progress or _silent)
    layers = layer_table(in_sequence(rows, chip.clock.tensor_hz))
    return Trace(
        chip=chip.model_dump(mode="json"),
        workload={"model": model.name, **work.describe(), "stack": stack.name, **limit_of(timeline_limit)},
        package_version=uarch.__version__,
        seed=seed,
        layers=layers,
        rollup=rollup(
            layers,
            clock_hz=chip.clock.tensor_hz,
            phase=work.name,
            tokens=work.tokens,
            n_chips=shard.chips,
            peaks=peaks_of(chip, dtype),
            energy_ranges=component_ranges(chip, dtype),
        ),
        timeline=np.concatenate(recorded) if recorded else None,
    )


def parts_of(model: Model) -> list[str]:
    """Names of the parts of a run that are simulated, in order."""
    return ["embedding", *(f"layer {index}" for index in simulated_layers(model.layer_kinds)), "LM head"]


def _execute(
    builder: OperatorBuilder, executor: Executor, progress: Callable[[str], None]
) -> list[tuple[int, dict[str, Any]]]:
    """(layer, trace fields) of every operator instance in order."""
    kinds = builder.model.layer_kinds
    progress("embedding")
    before, l2 = executor.run(builder.before_layers(), L2State.empty())
    rows = [(OUTSIDE_LAYERS, row) for row in before]
    simulated: dict[int, tuple[list[dict[str, Any]], L2State]] = {}
    for layer, stand_in in enumerate(stand_ins(kinds)):
        if stand_in == layer:
            progress(f"layer {layer}")
            operators = builder.layer(kinds[layer], builder.buffers.layers[layer], first=layer == 0)
            simulated[layer] = executor.run(operators, l2, len(rows))
        of_layer, l2 = simulated[stand_in]
        rows += [(layer, row) for row in of_layer]
    progress("LM head")
    after, _ = executor.run(builder.after_layers(), l2, len(rows))
    return rows + [(OUTSIDE_LAYERS, row) for row in after]


def _check_attention(model: Model, work: Phase) -> None:
    """Scores through memory are there for plain attention only; a table of learned positions has no rows beyond the last
    one, while other encodings only lose quality there."""
    if model.positions == "learned" and model.max_positions is not None and work.kv_len > model.max_positions:
        raise InputError(f"seq = {work.seq}: {model.name} has learned positions; allowed: 1 to {model.max_positions}")
    special = model.latent is not None or model.attention_soft_cap is not None or set(model.windows) != {None}
    if work.unfused and special:
        raise InputError(f"attention = 'unfused': not possible with the attention of {model.name}; allowed: flash")
    if model.latent is not None and (work.page_size or work.stored_dtype != work.dtype):
        raise InputError(
            f"kv_dtype, page_size: the latent cache of {model.name} is not paged and has no datatype of its own"
        )


def _silent(_: str) -> None:
    return
