"""Soft-capped scores (Gemma 2): what the tanh adds to an attention program's vector work."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kernels.program.tile_program import TileProgram
from kernels.vector.elementwise import SOFT_CAP_OPS, SOFT_CAP_SPECIAL_OPS
from uarch.program.records import Function, Op

_SOFTMAX = (Function.SOFTMAX, Function.ONLINE_SOFTMAX)


def soft_capped(program: TileProgram) -> TileProgram:
    """The program with the vector work of a soft cap on all scores; a replay computes them without the cap."""
    steps = program.steps.copy()
    chosen = (steps["op"] == Op.VECTOR) & np.isin(steps["function"], _SOFTMAX)
    scores = np.where(chosen, steps["m"] * steps["n"], 0)
    steps["vector_ops"] += SOFT_CAP_OPS * scores
    steps["special_ops"] += SOFT_CAP_SPECIAL_OPS * scores
    return replace(program, steps=steps)
