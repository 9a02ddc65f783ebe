"""A model on a chip: the phase's operators executed one after the other, rolled up into a trace."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Unpack

import numpy as np

from kernels.gemm.weights import weight_format
from kernels.mapping.mapper import Mapper
from kernels.program.address_space import AddressSpace
from results.analysis.rollup import rollup
from results.trace.schema import Table, layer_table
from results.trace.trace import Trace
from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.datatypes import datatype
from uarch.energy.account import component_ranges
from uarch.engine.l2 import L2State
from uarch.errors import InputError
from uarch.version import __version__
from workloads.layers.buffers import allocate
from workloads.layers.builder import OperatorBuilder
from workloads.layers.capacity import check_fits
from workloads.layers.context import LayerContext
from workloads.layers.layout import Layout
from workloads.layers.registry import arrange, refuse
from workloads.models.footprint import Footprint
from workloads.models.layer_plan import simulated_layers, stand_ins
from workloads.models.model import Model
from workloads.models.parallel import check_parallel
from workloads.models.presets import load_model
from workloads.running.execution import Executor, in_sequence, peaks_of
from workloads.running.overlap import overlap_all_reduces
from workloads.running.pipeline import Row, check_pipeline, critical_path, energy_per_token, group_joules, stages_of
from workloads.running.timeline import Sink, limit_of, open_timeline
from workloads.settings.choices import PhaseName, runs_engine
from workloads.settings.option_records import takes_options
from workloads.settings.phase import Phase
from workloads.settings.run_options import GivenOptions, RunOptions
from workloads.settings.stack import Stack, load_stack
from workloads.settings.step_batch import StepBatch


@takes_options(RunOptions)
def simulate(
    chip: Chip | str,
    model: Model | str,
    phase: PhaseName,
    *,
    batch: int | None = None,
    seq: int | None = None,
    step: Iterable[tuple[int, int]] | None = None,
    stack: Stack | str = "graph",
    mapper: Mapper | None = None,
    timeline_limit: int = 0,
    record: Sink | None = None,
    progress: Callable[[str], None] | None = None,
    **options: Unpack[GivenOptions],
) -> Trace:
    """Run a phase of a model on one chip of a tensor-parallel group, or of each stage of a pipeline of such groups.

    The function is pure: the trace depends on the arguments alone. Layers of equal kind after layers of equal kind are
    simulated once, as they find the L2 after the layer before (see :func:`workloads.models.layer_plan.stand_ins`).

    Parameters
    ----------
    chip, model, stack
        Objects, names of presets, or paths of files.
    phase
        ``prefill`` of ``batch`` prompts of ``seq`` tokens; one ``decode`` step at a context of ``seq`` tokens, the new one
        included; the verification (``verify``) of drafted tokens at the end of such contexts; or a ``step`` of a serving
        engine, which computes any mix of prompts, chunks of prompts and decodes at once.
    step
        Sequences of a step, each ``(new_tokens, context_tokens)``, the context with the new tokens; the option ``step_file``
        names a file of them instead. ``batch`` and ``seq`` are left out.
    batch, seq
        Number of sequences, and tokens of each; the option ``contexts`` replaces ``seq`` for sequences of different lengths.
    mapper
        Chooser of the tiles; None: one for the chip itself. Another chip's shows what a change does to given tiles.
    timeline_limit
        Intervals to record, at most, of what the cores do in the layers that are simulated; 0: none.
    record
        Called with the recorded intervals, part by part (dtype ``TIMELINE_DTYPE``); None: they are in the trace.
    progress
        Called with the name of each part (see :func:`parts_of`) before it is simulated.
    **options
        Fields of :class:`workloads.settings.run_options.RunOptions`, such as ``tp``, ``dtype``, ``mask`` or ``fidelity``.

    Returns
    -------
    Trace
        One row per operator with cycles, bytes and joules, and the roll-up of the run.

    Raises
    ------
    InputError
        For an unknown name, a size that is not allowed, or a model that does not fit.

    Examples
    --------
    >>> import uarch
    >>> trace = uarch.simulate("h100", "llama-3-8b", "decode", batch=8, seq=1024)
    >>> trace.rollup["bound_by"], 5e-3 < trace.rollup["seconds"] < 8e-3
    ('dram', True)
    >>> step = [(512, 512)] + [(1, 1024)] * 8
    >>> uarch.simulate("h100", "llama-3-8b", "step", step=step, fidelity="analytical").rollup["tokens"]
    520
    >>> halved = uarch.simulate("h100", "llama-3-8b", "decode", batch=8, seq=1024, tp=2, fidelity="analytical")
    >>> halved.rollup["n_chips"]
    2
    """
    return simulate_phase(
        load_chip(chip) if isinstance(chip, str) else chip,
        load_model(model) if isinstance(model, str) else model,
        Phase.of(phase, batch, seq, RunOptions(**options), None if step is None else StepBatch.of(step)),
        load_stack(stack) if isinstance(stack, str) else stack,
        mapper=mapper,
        timeline_limit=timeline_limit,
        record=record,
        progress=progress,
    )


def simulate_phase(
    chip: Chip,
    model: Model,
    work: Phase,
    stack: Stack,
    *,
    mapper: Mapper | None = None,
    timeline_limit: int = 0,
    record: Sink | None = None,
    progress: Callable[[str], None] | None = None,
) -> Trace:
    """Run a phase that is already a record: :func:`simulate` for callers who have all its parts."""
    if timeline_limit:
        _check_recorded(work, timeline_limit)
    builder = _builder(chip, model, stack, work, mapper)
    timeline, recorded = open_timeline(timeline_limit, work.fidelity, record)
    stages = _execute(builder, Executor(chip, stack, work.fidelity, timeline, work.departures), progress or _silent)
    layers, rolled_up = _rolled_up(builder, work, stages)
    return Trace(
        chip=chip.model_dump(mode="json"),
        workload={"model": model.name, **work.describe(), "stack": stack.name, **limit_of(timeline_limit)},
        package_version=__version__,
        seed=work.seed,
        layers=layers,
        rollup=rolled_up,
        timeline=np.concatenate(recorded) if recorded else None,
    )


def seconds_of_phase(chip: Chip, model: Model, work: Phase, stack: Stack, mapper: Mapper) -> float:
    """Seconds of a phase, as in the trace that :func:`simulate_phase` makes of it, without its table."""
    stages = _execute(
        _builder(chip, model, stack, work, mapper), Executor(chip, stack, work.fidelity, None, work.departures), _silent
    )
    path = critical_path(stages, work.micro_batches, peaks_of(chip, work.dtype))
    return float(np.array([row["seconds"] for _, row in path]).sum())


def _check_recorded(work: Phase, timeline_limit: int) -> None:
    """Raise :class:`InputError` for what no timeline can show."""
    if work.pp > 1:
        raise InputError(f"timeline_limit = {timeline_limit}: the stages of a pipeline have none; allowed with pp = 1")
    if work.overlap_chunks > 1:
        raise InputError(f"timeline_limit = {timeline_limit}: overlap is not recorded; allowed with overlap_chunks = 1")


def _builder(chip: Chip, model: Model, stack: Stack, work: Phase, mapper: Mapper | None) -> OperatorBuilder:
    """What makes the operators of one chip's part of the work, if that is possible and fits its memory."""
    shard = check_parallel(model, work.tp, work.ep)
    refuse(model, work)
    form = weight_format(
        chip,
        work.dtype,
        weight_dtype=work.weight_dtype,
        group_size=work.group_size,
        sparsity=work.weight_sparsity,
    )
    group = work.of_group()
    check_pipeline(model, work.pp, group.batch, work.micro_batches)
    part = group.of_micro_batch()
    check_fits(
        chip,
        model,
        Footprint(
            batch=group.batch,
            kv_len=part.mean_kv_len,
            tokens=part.tokens,
            logit_tokens=part.logit_tokens,
            tp=work.tp,
            dtype_bits=part.element_bits,
            unfused=part.unfused,
            ep=work.ep,
            weights=form,
            kv_bits=datatype(part.stored_dtype).bits,
            pp=work.pp,
        ),
    )
    layout = Layout(AddressSpace(), model, shard, arrange(model, part), form)
    mapper = mapper or Mapper(chip, work.dtype, on_engine=runs_engine(work.fidelity))
    return OperatorBuilder(LayerContext(chip, stack, mapper, layout, allocate(layout)))


def _rolled_up(
    builder: OperatorBuilder, work: Phase, stages: list[list[tuple[int, Row]]]
) -> tuple[Table, dict[str, float | int | str]]:
    """The table of all operators in the order of the critical path, and the chip-level numbers."""
    chip, shard = builder.context.chip, builder.context.shard
    peaks = peaks_of(chip, work.dtype)
    layers = layer_table(in_sequence(critical_path(stages, work.micro_batches, peaks), chip.clock.tensor_hz))
    rolled_up = rollup(
        layers,
        clock_hz=chip.clock.tensor_hz,
        phase=work.name,
        tokens=work.tokens,
        n_chips=shard.chips * work.pp,
        peaks=peaks,
        energy_ranges=component_ranges(chip, work.dtype),
        delivery_efficiency=chip.power.delivery_efficiency,
    )
    if work.pp > 1:
        joules = group_joules(stages, float(rolled_up["seconds"]), shard.chips, work.micro_batches)
        rolled_up |= energy_per_token(rolled_up, joules)
    return layers, rolled_up


def parts_of(model: Model) -> list[str]:
    """Names of the parts of a run that are simulated, in order."""
    return ["embedding", *(f"layer {index}" for index in simulated_layers(model.layer_kinds)), "LM head"]


def _execute(
    builder: OperatorBuilder, executor: Executor, progress: Callable[[str], None]
) -> list[list[tuple[int, Row]]]:
    """(layer, trace fields) of every operator instance of each pipeline stage, in order."""
    context = builder.context
    work, kinds = context.phase, context.model.layer_kinds
    progress("embedding")
    before, l2 = executor.run(builder.before_layers(), L2State.empty())
    simulated: dict[int, tuple[list[Row], L2State]] = {}
    layers: list[list[Row]] = []
    placed = len(before)
    for layer, stand_in in enumerate(stand_ins(kinds)):
        if stand_in == layer:
            progress(f"layer {layer}")
            operators = builder.layer(context.buffers.layers[layer], first=layer == 0)
            rows, l2 = executor.run(operators, l2, placed)
            simulated[layer] = overlap_all_reduces(rows, work.overlap_chunks, context.chip, context.stack), l2
        of_layer, l2 = simulated[stand_in]
        layers.append(of_layer)
        placed += len(of_layer)
    transfer, l2 = executor.run([builder.stage_transfer()] if work.pp > 1 else [], l2)
    progress("LM head")
    after, _ = executor.run(builder.after_layers(), l2, placed)
    return stages_of(before, layers, after, transfer, work.pp)


def _silent(_: str) -> None:
    return
