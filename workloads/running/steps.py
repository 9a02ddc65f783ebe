"""Many steps of one model on one chip, as a serving engine takes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Unpack

from kernels.mapping.mapper import Mapper
from kernels.mapping.similar import SimilarMappings
from results.trace.trace import Trace
from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from workloads.models.model import Model
from workloads.models.presets import load_model
from workloads.running.runner import seconds_of_phase, simulate_phase
from workloads.settings.choices import runs_engine
from workloads.settings.option_records import takes_options
from workloads.settings.phase import Phase
from workloads.settings.run_options import GivenOptions, RunOptions
from workloads.settings.stack import Stack, load_stack
from workloads.settings.step_batch import StepBatch


class StepRunner:
    """Runs steps of one model on one chip under one software stack; what they have in common is found once.

    Batches whose sizes agree in their leading bits share mappings (:mod:`kernels.mapping.similar`): the first one decides, so
    that times depend slightly on the order of the steps. :func:`uarch.simulate` searches for every batch by itself.

    >>> runner = StepRunner("h100", "llama-3-8b", fidelity="analytical")
    >>> runner.seconds([(1, 1024)] * 32 + [(512, 512)]) > runner.seconds([(1, 1024)] * 32)
    True
    """

    @takes_options(RunOptions)
    def __init__(
        self, chip: Chip | str, model: Model | str, *, stack: Stack | str = "graph", **options: Unpack[GivenOptions]
    ) -> None:
        """Take chip, model, stack and options as :func:`uarch.simulate` does."""
        self.chip = load_chip(chip) if isinstance(chip, str) else chip
        self.model = load_model(model) if isinstance(model, str) else model
        self.stack = load_stack(stack) if isinstance(stack, str) else stack
        self.options = RunOptions(**options)
        on_engine = runs_engine(self.options.fidelity)
        self._mapper = Mapper(self.chip, self.options.dtype, on_engine=on_engine, similar=SimilarMappings())
        self._seconds: dict[StepBatch, float] = {}

    def run(self, sequences: StepBatch | Iterable[tuple[int, int]]) -> Trace:
        """Run a step of sequences ``(new_tokens, context_tokens)``, contexts with the new tokens.

        Raises :class:`uarch.InputError` for sequences that are not allowed or do not fit into memory.
        """
        step = sequences if isinstance(sequences, StepBatch) else StepBatch.of(sequences)
        work = Phase.of_sequences(step, self.options)
        return simulate_phase(self.chip, self.model, work, self.stack, mapper=self._mapper)

    def seconds(self, sequences: StepBatch | Iterable[tuple[int, int]]) -> float:
        """Time of a step; one that was asked for before is remembered."""
        step = sequences if isinstance(sequences, StepBatch) else StepBatch.of(sequences)
        if step not in self._seconds:
            work = Phase.of_sequences(step, self.options)
            self._seconds[step] = seconds_of_phase(self.chip, self.model, work, self.stack, self._mapper)
        return self._seconds[step]
