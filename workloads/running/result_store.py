"""Results of long kernels, remembered on disk: by chip, program, what L2 held, and the simulator's sources.

Identifying a kernel means hashing its program, which is worth it where executing it takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kernels.program.tile_program import TileProgram
from uarch.chip.schema import Chip
from uarch.engine.execute import KernelResult, granules_of_steps
from uarch.engine.l2 import GRANULE, L2State
from uarch.engine.operating_point import OperatingPoint
from uarch.events import Cause, Event
from uarch.files.derived import Arrays, array_store, checked

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
    """Return what ``execute`` returns for these arguments, from disk if it is there.

    A file that cannot be read or written costs time only.
    """
    if program.dynamic_steps < LONG_VISITS and _visits(program) < LONG_VISITS:
        return execute()
    key = _RESULTS.key(chip, program.key(), l2.granules, l2.records, launch_seconds, fidelity)
    known = _RESULTS.recall(key)
    if known is None:
        known = execute()
        _RESULTS.remember(key, known)
    return known


def _visits(program: TileProgram) -> int:
    """Count steps and the granules that they load and store: what the engine's own time grows with."""
    return int((program.executions() * (1 + granules_of_steps(program, stored=True))).sum())


def _to_arrays(outcome: Outcome) -> Arrays:
    result, l2 = outcome
    return {
        "picoseconds": np.array([result.total_ps, result.extrapolated_ps], np.int64),
        "causes_ps": result.causes_ps,
        "events": result.events,
        "clock": np.array([result.tensor_hz, *result.point], np.float64),
        "granules": l2.granules,
        "records": l2.records,
        "users": l2.users,
    }


def _from_arrays(arrays: Arrays) -> Outcome:
    total_ps, extrapolated_ps = checked(arrays["picoseconds"], np.int64, (2,)).tolist()
    tensor_hz, *point = checked(arrays["clock"], np.float64, (1 + len(OperatingPoint._fields),)).tolist()
    causes_ps = checked(arrays["causes_ps"], np.int64, (None, len(Cause)))
    granules = checked(arrays["granules"], np.int64, (None,))
    records = checked(arrays["records"], GRANULE, (len(granules),))
    if (causes_ps.sum(axis=1) != total_ps).any():
        raise ValueError("causes do not add up to the time")
    events = checked(arrays["events"], np.int64, (len(Event),))
    result = KernelResult(
        total_ps=total_ps,
        causes_ps=causes_ps,
        events=events,
        tensor_hz=tensor_hz,
        extrapolated_ps=extrapolated_ps,
        point=OperatingPoint(*point),
    )
    users = checked(arrays["users"], np.int64, (len(granules), None))
    return result, L2State(granules, records, users)


_RESULTS = array_store("results", _to_arrays, _from_arrays, "uarch", "kernels", "workloads", "results", remembers=False)
