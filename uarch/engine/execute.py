"""The engine: executes a tile program on a chip and says how long it took, why, and what it cost in events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from uarch.arrays import IntArray
from uarch.chip.schema import Chip
from uarch.dram.channels.interface import failure
from uarch.dram.channels.visits import STANDSTILL
from uarch.engine.chip_state import WAITER, ChipState, Program, open_chip
from uarch.engine.event_loop import DEADLOCK, ENDLESS, LATEST_PS, PAUSED, TOO_LONG, run
from uarch.engine.identical_waves import longest_identical_run, watch_waves
from uarch.engine.inline_ecc import check_share_of_program
from uarch.engine.l1_cache import LINE
from uarch.engine.l2 import GRANULE, L2State, close_l2
from uarch.engine.machine import Machine, lower, lower_dram
from uarch.engine.operating_point import NOMINAL, OperatingPoint
from uarch.engine.recorder import take
from uarch.engine.resident_blocks import MAX_STAGES, PHASES, STAGE
from uarch.engine.step_costs import step_costs
from uarch.errors import InputError, InternalError
from uarch.events import Cause, Event
from uarch.picoseconds import PS_PER_SECOND, picoseconds, rate_of
from uarch.program.records import GRANULE_ROW_BYTES, NONE, LinkUse, Op, StructArray, executions
from uarch.wake_tree import NEVER

FEWEST_WAVES = 1024
"""Least number of waves of a kernel that is worth extrapolating."""
_RESUME = -1
"""Launch time that tells the event loop to go on where it paused."""
MOST_STATE_BYTES = 1 << 34
"""Largest state of a chip and its program, in bytes, that is simulated."""
ENGINE_FIDELITIES = ("tile", "burst")


class TileProgramArrays(Protocol):
    """Protocol of a tile program, as the engine reads it; :mod:`uarch.program.records` describes the arrays."""

    @property
    def name(self) -> str:
        """Name of the operator, for messages."""

    @property
    def dtype(self) -> str:
        """Datatype of matrix work."""

    @property
    def tensors(self) -> StructArray:
        """Array of ``TENSOR``."""

    @property
    def blocks(self) -> StructArray:
        """Array of ``BLOCK``."""

    @property
    def steps(self) -> StructArray:
        """Array of ``STEP``."""

    @property
    def operands(self) -> StructArray:
        """Array of ``OPERAND``, shape ``(len(steps), 3)``."""

    @property
    def tables(self) -> IntArray:
        """Rows of the parts of gathered boxes."""

    @property
    def useful_flops(self) -> int:
        """Operations that the operator needs: twice its multiply-accumulates, without padding and masked scores."""

    @property
    def n_counters(self) -> int:
        """Counters that blocks wait for and signal."""

    @property
    def n_granules(self) -> int:
        """Granules of the address space that the tensors lie in."""

    @property
    def link(self) -> LinkUse | None:
        """How remote tensors travel; None: by single lines, as the chip's link says."""

    @property
    def launch_seconds(self) -> float | None:
        """Seconds that its start takes on the device; None: what the chip says."""


@dataclass(frozen=True, eq=False, kw_only=True)
class KernelResult:
    """One execution of a tile program.

    ``causes_ps``: int64, shape ``(cores, len(Cause))``, where each core's time went, every row adding up to ``total_ps``;
    ``events``: int64, shape ``(len(Event),)``.
    """

    total_ps: int
    causes_ps: IntArray
    events: IntArray
    tensor_hz: float
    extrapolated_ps: int = 0
    """Part of ``total_ps``, in picoseconds, that stands for repeated waves, which were not executed."""
    point: OperatingPoint = NOMINAL
    """Clock and voltage, if the power cap chose them (:mod:`uarch.power.capped_execution`)."""

    @property
    def seconds(self) -> float:
        """Time from the launch to the end of the last block."""
        return self.total_ps / PS_PER_SECOND

    @property
    def cycles(self) -> int:
        """Time from the launch to the end of the last block, in tensor-clock cycles."""
        return round(self.seconds * self.tensor_hz)

    def count(self, event: Event) -> int:
        """How often an event occurred."""
        return int(self.events[event])

    def cause_seconds(self, cause: Cause) -> float:
        """Seconds that went to a cause, as the mean over cores."""
        return float(self.causes_ps[:, cause].mean()) / PS_PER_SECOND

    @property
    def dram_bytes(self) -> int:
        """Bytes read from and written to DRAM."""
        return self.count(Event.DRAM_READ_BYTES) + self.count(Event.DRAM_WRITE_BYTES)

    @property
    def l2_bytes(self) -> int:
        """Bytes read from and written to L2."""
        return self.count(Event.L2_READ_BYTES) + self.count(Event.L2_WRITE_BYTES)


def execute(
    chip: Chip,
    program: TileProgramArrays,
    l2_state: L2State | None = None,
    *,
    launch_seconds: float = 0.0,
    fidelity: str = "tile",
    extrapolate: bool = True,
    most_intervals: int = 0,
    record: Callable[[StructArray], None] | None = None,
) -> tuple[KernelResult, L2State]:
    """Execute a program on a chip.

    The function is pure: no argument is changed, and equal arguments give equal results.

    Parameters
    ----------
    chip
        The chip whose cores, L2, memory and link execute the program.
    program
        A tile program; builders are in ``kernels``.
    l2_state
        What L2 holds at the start; None: nothing.
    launch_seconds
        Seconds before the first block starts, beside those that the device itself takes.
    fidelity
        How DRAM is modelled: ``tile`` or ``burst``.
    extrapolate
        Whether to skip waves that repeat what the machine has done before (:mod:`uarch.engine.identical_waves`).
    most_intervals, record
        If ``record`` is given, it is called with the intervals of the execution's timeline, part by part, ``most_intervals``
        in all at most (dtype :data:`uarch.engine.recorder.INTERVAL`, picoseconds since the launch); nothing is
        extrapolated then.

    Returns
    -------
    result : KernelResult
        Time in picoseconds, causes of each core's time, and counted events.
    l2_state : L2State
        What L2 holds at the end.

    Raises
    ------
    InputError
        If a block does not fit into a core, or the chip has no rate for the program's datatype.

    Examples
    --------
    >>> import uarch
    >>> from kernels.gemm.gemm import GemmMapping, GemmShape, Operand, Output, gemm
    >>> from kernels.program.address_space import AddressSpace
    >>> space = AddressSpace()
    >>> a, b, c = (Operand(space.allocate(name, 256, 256, 16)) for name in "abc")
    >>> shape, mapping = GemmShape(256, 256, 256), GemmMapping(128, 128, 32, stages=3)
    >>> program = gemm("gemm", shape, a, b, [Output(c, 0, 256)], mapping, space)
    >>> result, l2_state = uarch.execute(uarch.load_chip("h100"), program)
    >>> 1e-6 < result.seconds < 1e-5, l2_state.resident_bytes
    (True, 393216)
    """
    if fidelity not in ENGINE_FIDELITIES:
        raise InputError(
            f"fidelity: {fidelity!r} is not executed by the engine; allowed are {', '.join(ENGINE_FIDELITIES)}"
        )
    machine = _with_link(lower(chip, program.dtype), chip, program.link)
    resident = resident_blocks(machine, program, chip.name)
    contexts = machine.cores * resident
    _check_memory(chip, machine, program, resident)
    check_share = check_share_of_program(chip.memory, program.tensors, program.steps, program.operands)
    dram_timing = lower_dram(chip, fidelity, check_share)
    state = open_chip(
        machine,
        dram_timing,
        l2_state or L2State.empty(),
        resident,
        program.n_granules,
        program.n_counters,
        contexts * _granules_per_context(program),
        contexts * int(granules_of_steps(program, stored=True).max()),
        _l1_cache_bytes(machine, program, resident) if chip.core.l1.keeps_loads else 0,
        most_intervals if record else 0,
    )
    costs = step_costs(machine, program.tensors, program.steps, program.operands)
    arrays = Program(program.tensors, program.blocks, program.steps, program.operands, program.tables, costs)
    run_of_equals = (0, 0)
    if extrapolate and record is None and len(program.blocks) >= FEWEST_WAVES * contexts:
        run_of_equals = longest_identical_run(arrays)
    state.shared["turns_left"] = _most_turns(program, contexts)
    blocks_per_wave = contexts if record is None else NEVER
    waves = watch_waves(blocks_per_wave, machine.cores, arrays, run_of_equals)
    total_ps = run(state, arrays, waves, picoseconds(launch_seconds) + device_launch_ps(machine, program))
    while total_ps == PAUSED and record is not None:
        record(take(state.recorder))
        total_ps = run(state, arrays, waves, _RESUME)
    if record is not None:
        record(take(state.recorder))
    if total_ps < 0:
        raise _failure(total_ps, program.name, state)
    result = KernelResult(
        total_ps=total_ps,
        causes_ps=state.cores["cause_ps"].copy(),
        events=state.events,
        tensor_hz=chip.clock.tensor_hz,
        extrapolated_ps=int(waves.taken[1]),
    )
    return result, close_l2(state.granules, state.groups, state.users)


def _failure(code: int, name: str, state: ChipState) -> Exception:
    """The error that a failed run ends in: a program that takes too long is the caller's, anything else is a defect."""
    phases = np.bincount(state.contexts["phase"], minlength=len(PHASES))
    doing = ", ".join(f"{count} {phase}" for phase, count in zip(PHASES, phases, strict=True) if count)
    ended, wake_ps = int(state.shared["ended_blocks"][0]), int(state.wake[1])
    lists = state.dram.waiting.lists["bursts"].sum(axis=0)
    where = (
        f"{ended} blocks have ended; contexts: {doing}; bursts that wait for DRAM: {lists[0]} reads, {lists[1]} writes"
    )
    late = (state.wake > LATEST_PS) & (state.wake != NEVER)
    if code == TOO_LONG or (code == DEADLOCK and late.any()):
        return InputError(
            f"{name}: takes longer than {LATEST_PS / PS_PER_SECOND:.3g} s on this chip, the longest time that is simulated"
        )
    if code == DEADLOCK:
        return InternalError(f"{name}: blocks wait for counters that no block signals; {where}")
    if code == ENDLESS:
        return InternalError(f"{name}: more turns than the program has work for, at {wake_ps} ps; {where}")
    reason = "DRAM serves none of its requests" if failure(state.dram) == STANDSTILL else "no room for writes to DRAM"
    return InternalError(f"{name}: {reason}, at {wake_ps} ps; {where}")


def _most_turns(program: TileProgramArrays, contexts: int) -> int:
    """Upper bound of the event loop's turns: each wakes a context, whose phases are few, or completes a fetch.

    A step wakes its context when its operands are there, when it is done and when its result is taken; a block when it
    starts, when it is launched, and whenever a counter is signalled.
    """
    of_steps = np.append(0, np.cumsum(executions(program.steps) * (4.0 + granules_of_steps(program))))
    blocks = program.blocks
    first = blocks["first_step"]
    turns = float((of_steps[first + blocks["n_steps"]] - of_steps[first]).sum()) + 4.0 * len(blocks) + contexts
    turns += contexts * float((blocks["signal_counter"] != NONE).sum())
    return int(min(2 * turns + 1000, NEVER))


def _check_memory(chip: Chip, machine: Machine, program: TileProgramArrays, resident: int) -> None:
    """Refuse a chip whose state would not fit into this computer's memory, before any of it is taken."""
    needed = machine.cores * resident * (MAX_STAGES * STAGE.itemsize + _granules_per_context(program) * WAITER.itemsize)
    needed += program.n_granules * (GRANULE.itemsize + 8 * machine.l2_partitions)
    if chip.core.l1.keeps_loads:
        needed += machine.cores * _l1_cache_bytes(machine, program, resident) // GRANULE_ROW_BYTES * LINE.itemsize
    if needed > MOST_STATE_BYTES:
        raise InputError(
            f"{program.name}: {chip.name} with core.count = {machine.cores} takes {needed >> 20} MiB to simulate; "
            f"at most {MOST_STATE_BYTES >> 20} MiB are allowed"
        )


def _with_link(machine: Machine, chip: Chip, use: LinkUse | None) -> Machine:
    if use is None:
        return machine
    rate = rate_of(chip.link.bandwidth_bytes_per_second / use.wire_bytes_per_byte)
    return machine._replace(link_byte=rate, link_latency_ps=picoseconds(use.latency_seconds))


def device_launch_ps(machine: Machine, program: TileProgramArrays) -> int:
    """Picoseconds that the device itself adds to a kernel, whoever launches it: see :class:`uarch.chip.schema.Launch`.

    Blocks that wait for others are a kernel of their own.
    """
    if program.launch_seconds is not None:
        return picoseconds(program.launch_seconds)
    uses_arrays = bool((program.steps["op"] == Op.MATMUL).any())
    phases = 2 if program.n_counters else 1
    return phases * machine.kernel_launch_ps + (machine.matrix_launch_ps if uses_arrays else 0)


def resident_blocks(machine: Machine, program: TileProgramArrays, chip_name: str) -> int:
    """Blocks that a core holds at a time: as many as fit into L1 and registers, and no more than there are to share out.

    Raises :class:`InputError` if not even one fits.
    """
    limit = min(machine.max_resident_blocks, -(-len(program.blocks) // machine.cores))
    for field, available in (("l1_bytes", machine.l1_bytes), ("register_bytes", machine.register_bytes)):
        needed = int(program.blocks[field].max())
        if needed > available:
            unit = field.removesuffix("_bytes")
            raise InputError(
                f"{program.name}: a block needs {needed} bytes of {unit}; {chip_name} has {available} per core"
            )
        limit = min(limit, available // max(1, needed))
    return max(1, limit)


def _l1_cache_bytes(machine: Machine, program: TileProgramArrays, resident: int) -> int:
    """Bytes of a core's L1 that the resident blocks leave free, if the program has loads that look there, else 0."""
    left_bytes = machine.l1_bytes - resident * int(program.blocks["l1_bytes"].max())
    return left_bytes if program.operands["cached"].any() else 0


def granules_of_steps(program: TileProgramArrays, *, stored: bool = False) -> IntArray:
    """Upper bound of the granules that one execution of each step loads, or with ``stored`` loads and stores; int64, shape
    ``(len(steps),)``."""
    operands = program.operands[:, : 3 if stored else 2]
    in_memory = operands["tensor"] != NONE
    tensors = program.tensors[np.where(in_memory, operands["tensor"], 0)]
    down = ((operands["n_rows"] - 1) >> tensors["row_shift"]) + 2
    across = ((operands["n_cols"] - 1) >> tensors["col_shift"]) + 2
    granules: IntArray = np.where(in_memory, operands["n_batch"] * down * across, 0).sum(axis=1)
    return granules


def _granules_per_context(program: TileProgramArrays) -> int:
    """Upper bound of the granules that one context can wait for: its stages, times those of the largest step."""
    stages = int(program.blocks["stages"].max())
    if stages > MAX_STAGES:
        raise ValueError(f"{program.name}: {stages} stages; at most {MAX_STAGES}")
    return max(1, stages * int(granules_of_steps(program).max()))
