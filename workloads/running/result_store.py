"""Results of long kernels, remembered on disk: by chip, program, what L2 held, and the simulator's sources.

Identifying a kernel means hashing its program, which is worth it where executing it takes seconds.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable

import numpy as np

from kernels.program.tile_program import TileProgram
from uarch.chip.schema import Chip
from uarch.dram.standards.standard import load_standard
from uarch.energy.tables_on_disk import load_energy_table
from uarch.engine.execute import KernelResult, granules_of_steps
from uarch.engine.l2 import L2State
from uarch.files.derived import keep
from uarch.jit import cache_directory

LONG_VISITS = 1_000_000
"""Kernels of so many steps and visits of granules, both counted together, are remembered."""

Outcome = tuple[KernelResult, L2State]


def remembered(
    chip: Chip,
    program: TileProgram,
    l2: L2State,
    launch_seconds: float,
    fidelity: str,
    execute: Callable[[], Outcome],
) -> Outcome:
    """What ``execute`` returns for these arguments, from disk if it is there.

    A file that cannot be read or written costs time only.
    """
    if program.dynamic_steps < LONG_VISITS and _visits(program) < LONG_VISITS:
        return execute()
    path = cache_directory() / "results" / f"{_key(chip, program, l2, launch_seconds, fidelity)}.pickle"
    try:
        known: Outcome = pickle.loads(path.read_bytes())
    except (OSError, pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError):
        known = execute()
        keep(path, pickle.dumps(known, protocol=5))
    return known


def _visits(program: TileProgram) -> int:
    """Steps, and granules that they load and store: what the engine's own time grows with."""
    return int((program.executions() * (1 + granules_of_steps(program, stored=True))).sum())


def _key(chip: Chip, program: TileProgram, l2: L2State, launch_seconds: float, fidelity: str) -> str:
    digest = hashlib.blake2b(digest_size=20)
    sizes = program.n_counters, program.n_granules, launch_seconds, fidelity
    digest.update(repr(sizes).encode())
    for named in (chip, load_standard(chip.memory.standard), load_energy_table(chip.energy.table)):
        digest.update(named.model_dump_json().encode())
    digest.update(program.key())
    for array in (l2.granules, l2.records):
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()
