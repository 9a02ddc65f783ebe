"""What the L2 holds when a kernel starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kernels.program.address_space import Tensor
from kernels.program.tile_program import TileProgram
from kernels.vector.elementwise import fill
from uarch.chip.schema import Chip
from uarch.engine.execute import execute
from uarch.engine.l2 import L2State
from uarch.program.records import OUT
from workloads.settings.choices import runs_engine


def initial_l2(
    chip: Chip, residency: str, fidelity: str, inputs: Sequence[Tensor], programs: Sequence[TileProgram]
) -> L2State:
    """L2 at the start of ``programs``, whose activations are ``inputs``; found by executing what ran before.

    The analytical fidelity has no L2: always empty.
    """
    state = L2State.empty()
    if residency == "cold" or not runs_engine(fidelity):
        return state
    before = programs if residency == "warm" else [_written(chip, tensor) for tensor in inputs]
    for program in before:
        _, state = execute(chip, program, state, fidelity=fidelity)
    return state


def _written(chip: Chip, tensor: Tensor) -> TileProgram:
    """A kernel that writes a tensor as matrix products do: all rows of a column of tiles before the next column."""
    program = fill(tensor.name, chip, tensor)
    stores = program.operands[program.blocks["first_step"], OUT]
    order = np.lexsort((stores["row"], stores["col"]))
    return replace(program, blocks=program.blocks[order])
