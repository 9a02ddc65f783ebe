"""A model on a chip: the phase's operators executed one after the other, rolled up into a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import uarch
from kernels.mapper import Mapper
from results.rollup import rollup
from results.schema import layer_table
from results.trace import Trace
from uarch.chip import Chip
from uarch.chip_file import load_chip
from uarch.engine import ENGINE_FIDELITIES
from uarch.errors import InputError
from uarch.l2 import L2State
from workloads.buffers import LAYER_SETS, allocate
from workloads.capacity import check_fits
from workloads.execution import OUTSIDE_LAYERS, Executor, in_sequence, peaks_of
from workloads.model import load_model
from workloads.model_shape import Model
from workloads.operators import OperatorBuilder, attention_shape
from workloads.parallel import check_parallel
from workloads.phase import Phase
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
    progress: Callable[[str], None] | None = None,
) -> Trace:
    """Run a phase of a model on one chip of a tensor-parallel group.

    ``phase``: ``prefill`` of ``batch`` prompts of ``seq`` tokens, or one ``decode`` step at a context of ``seq`` tokens
    (the new one included). ``chip``, ``model`` and ``stack`` are objects, names of presets, or paths of files.
    ``attention``: ``flash`` or ``unfused``; ``fidelity``: one of ``FIDELITIES``. ``seed`` draws the token
    ids whose embeddings are read.
    ``progress`` is called with the name of each part (see :func:`parts_of`) before it is simulated.

    Pure: the trace depends on the arguments alone. Equal layers are simulated once: the first, and the second as it finds
    the L2 after the first; all further ones are like the second.

    Raises :class:`uarch.InputError` for an unknown name, a size that is not allowed, or a model that does not fit.
    """
    chip = load_chip(chip) if isinstance(chip, str) else chip
    model = load_model(model) if isinstance(model, str) else model
    stack = load_stack(stack) if isinstance(stack, str) else stack
    work = Phase(phase, batch, seq, tp, dtype, attention, fidelity, seed)
    shard = check_parallel(model, tp)
    _check_positions(model, work)
    check_fits(
        chip,
        model,
        batch=batch,
        kv_len=work.kv_len,
        tokens=work.tokens,
        tp=tp,
        dtype_bits=work.element_bits,
        unfused=work.unfused,
        logit_tokens=batch,
    )
    buffers = allocate(model, shard, work, attention_shape(model, shard, work))
    mapper = Mapper(chip, dtype, on_engine=fidelity in ENGINE_FIDELITIES)
    builder = OperatorBuilder(chip, model, shard, work, stack, buffers, mapper)
    rows = _execute(builder, Executor(chip, stack, fidelity), progress or _silent)
    layers = layer_table(in_sequence(rows, chip.clock.tensor_hz))
    return Trace(
        chip=chip.model_dump(mode="json"),
        workload={"model": model.name, **work.describe(), "stack": stack.name},
        package_version=uarch.__version__,
        seed=seed,
        layers=layers,
        rollup=rollup(
            layers,
            clock_hz=chip.clock.tensor_hz,
            phase=work.name,
            tokens=work.tokens,
            n_chips=tp,
            peaks=peaks_of(chip, dtype),
        ),
    )


def parts_of(model: Model) -> list[str]:
    """Names of the parts of a run that are simulated, in order."""
    return ["embedding", *(f"layer {index}" for index in range(min(model.n_layers, LAYER_SETS))), "LM head"]


def _execute(
    builder: OperatorBuilder, executor: Executor, progress: Callable[[str], None]
) -> list[tuple[int, dict[str, Any]]]:
    """(layer, trace fields) of every operator instance in order."""
    n_layers = builder.model.n_layers
    progress("embedding")
    before, l2 = executor.run(builder.before_layers(), L2State.empty())
    rows = [(OUTSIDE_LAYERS, row) for row in before]
    repeated: list[dict[str, Any]] = []
    for layer in range(n_layers):
        if layer < len(builder.buffers.layers):
            progress(f"layer {layer}")
            operators = builder.layer(builder.buffers.layers[layer], first=layer == 0)
            repeated, l2 = executor.run(operators, l2)
        rows += [(layer, row) for row in repeated]
    progress("LM head")
    after, _ = executor.run(builder.after_layers(), l2)
    return rows + [(OUTSIDE_LAYERS, row) for row in after]


def _check_positions(model: Model, work: Phase) -> None:
    """A table of learned positions has no rows beyond the last one; other encodings only lose quality there."""
    if model.positions == "learned" and model.max_positions is not None and work.kv_len > model.max_positions:
        raise InputError(f"seq = {work.seq}: {model.name} has learned positions; allowed: 1 to {model.max_positions}")


def _silent(_: str) -> None:
    return
