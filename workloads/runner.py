"""A model on a chip: the phase's operators executed one after the other, rolled up into a trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import uarch
from kernels.mapper import Mapper
from results.rollup import rollup
from results.schema import layer_table
from results.trace import Trace
from uarch.chip import Chip
from uarch.chip_file import load_chip
from uarch.energy_account import component_ranges
from uarch.engine import ENGINE_FIDELITIES
from uarch.errors import InputError
from uarch.l2 import L2State
from workloads.buffers import LAYER_SETS, allocate
from workloads.capacity import check_fits
from workloads.execution import Executor, in_sequence, peaks_of
from workloads.model import load_model
from workloads.model_shape import Model
from workloads.operators import OperatorBuilder, attention_shape
from workloads.overlap import overlap_all_reduces
from workloads.parallel import check_parallel
from workloads.phase import Phase
from workloads.pipeline import Row, check_pipeline, critical_path, energy_per_token, group_joules, stages_of
from workloads.stack import Stack, load_stack


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
    pp: int = 1,
    micro_batches: int = 1,
    overlap_chunks: int = 1,
    progress: Callable[[str], None] | None = None,
) -> Trace:
    """Run a phase of a model on one chip of a tensor-parallel group, or of each stage of a pipeline of such groups.

    ``phase``: ``prefill`` of ``batch`` prompts of ``seq`` tokens, or one ``decode`` step at a context of ``seq`` tokens
    (the new one included). ``chip``, ``model`` and ``stack`` are objects, names of presets, or paths of files.
    ``attention``: ``flash`` or ``unfused``; ``fidelity``: one of ``FIDELITIES``. ``seed`` draws the token
    ids whose embeddings are read. ``pp`` stages of ``tp`` chips each take ``micro_batches`` equal parts of the batch one
    after the other; the trace is then the critical path (:mod:`workloads.pipeline`). ``overlap_chunks`` above 1: all-reduces
    run behind the products before them (:mod:`workloads.overlap`).
    ``progress`` is called with the name of each part (see :func:`parts_of`) before it is simulated.

    Pure: the trace depends on the arguments alone. Equal layers are simulated once: the first, and the second as it finds
    the L2 after the first; all further ones are like the second.

    Raises :class:`uarch.InputError` for an unknown name, a size that is not allowed, or a model that does not fit.
    """
    chip = load_chip(chip) if isinstance(chip, str) else chip
    model = load_model(model) if isinstance(model, str) else model
    stack = load_stack(stack) if isinstance(stack, str) else stack
    work = Phase(phase, batch, seq, tp, dtype, attention, fidelity, seed, pp, micro_batches, overlap_chunks)
    shard = check_parallel(model, tp)
    check_pipeline(model, pp, batch, micro_batches)
    part = replace(work, batch=batch // micro_batches)
    _check_positions(model, work)
    check_fits(
        chip,
        model,
        batch=batch,
        kv_len=work.kv_len,
        tokens=part.tokens,
        tp=tp,
        dtype_bits=work.element_bits,
        unfused=work.unfused,
        logit_tokens=part.batch,
        pp=pp,
    )
    buffers = allocate(model, shard, part, attention_shape(model, shard, part))
    mapper = Mapper(chip, dtype, on_engine=fidelity in ENGINE_FIDELITIES)
    builder = OperatorBuilder(chip, model, shard, part, stack, buffers, mapper)
    peaks = peaks_of(chip, dtype)
    stages = _execute(builder, Executor(chip, stack, fidelity), progress or _silent)
    layers = layer_table(in_sequence(critical_path(stages, micro_batches, peaks), chip.clock.tensor_hz))
    rolled_up = rollup(
        layers,
        clock_hz=chip.clock.tensor_hz,
        phase=work.name,
        tokens=work.tokens,
        n_chips=tp * pp,
        peaks=peaks,
        energy_ranges=component_ranges(chip, dtype),
    )
    if pp > 1:
        rolled_up |= energy_per_token(rolled_up, group_joules(stages, float(rolled_up["seconds"]), tp, micro_batches))
    return Trace(
        chip=chip.model_dump(mode="json"),
        workload={"model": model.name, **work.describe(), "stack": stack.name},
        package_version=uarch.__version__,
        seed=seed,
        layers=layers,
        rollup=rolled_up,
    )


def parts_of(model: Model) -> list[str]:
    """Names of the parts of a run that are simulated, in order."""
    return ["embedding", *(f"layer {index}" for index in range(min(model.n_layers, LAYER_SETS))), "LM head"]


def _execute(
    builder: OperatorBuilder, executor: Executor, progress: Callable[[str], None]
) -> list[list[tuple[int, Row]]]:
    """(layer, trace fields) of every operator instance of each pipeline stage, in order."""
    work, layers, repeated = builder.phase, builder.buffers.layers, list[Row]()
    progress("embedding")
    before, l2 = executor.run(builder.before_layers(), L2State.empty())
    simulated: list[list[Row]] = []
    for layer in range(builder.model.n_layers):
        if layer < len(layers):
            progress(f"layer {layer}")
            repeated, l2 = executor.run(builder.layer(layers[layer], first=layer == 0), l2)
            repeated = overlap_all_reduces(repeated, work.overlap_chunks, builder.chip, builder.stack)
        simulated.append(repeated)
    transfer, l2 = executor.run([builder.stage_transfer()] if work.pp > 1 else [], l2)
    progress("LM head")
    after, _ = executor.run(builder.after_layers(), l2)
    return stages_of(before, simulated, after, transfer, work.pp)


def _check_positions(model: Model, work: Phase) -> None:
    """A table of learned positions has no rows beyond the last one; other encodings only lose quality there."""
    if model.positions == "learned" and model.max_positions is not None and work.kv_len > model.max_positions:
        raise InputError(f"seq = {work.seq}: {model.name} has learned positions; allowed: 1 to {model.max_positions}")


def _silent(_: str) -> None:
    return
