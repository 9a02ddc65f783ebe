"""Execution under the power cap: the engine at the clock that the chip sustains during the kernel.

The cap acts on a kernel as if it ran long enough for the power controller to settle (some tens of milliseconds); only
where the power at the highest clock exceeds the TDP does the engine run again, at the clock that the draw asks for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from uarch.chip.schema import Chip
from uarch.energy.account import OWN_SUPPLY, dynamic_joules
from uarch.energy.static_power import dram_background_watts
from uarch.energy.supply_voltage import operating_point
from uarch.engine.execute import KernelResult, TileProgramArrays, execute
from uarch.engine.l2 import L2State
from uarch.power.cap import (
    LOWEST_CLOCK_RATIO,
    Draw,
    at_clock,
    highest_clock_ratio,
    sustained_clock_ratio,
    watts_at,
)
from uarch.silicon.tdp import tdp_watts

_ATTEMPTS = 6
_ABOVE = 0.005
"""Excess over the TDP, as a fraction of it, at which the search for the clock may end."""
_BELOW = 0.02
"""Gap to the TDP, as a fraction of it, at which the search for the clock may end."""
_NARROW = 0.01
"""Width of the range in which the clock ratio lies, at which the search for it ends."""


def execute_capped(
    chip: Chip,
    program: TileProgramArrays,
    l2_state: L2State | None = None,
    *,
    launch_seconds: float = 0.0,
    fidelity: str = "tile",
) -> tuple[KernelResult, L2State]:
    """Execute a program (:func:`uarch.engine.execute.execute`) at the clock that the chip sustains under its TDP.

    Without ``power.cap`` the clock is that of the chip file. The result's ``point`` says at which clock and voltage the kernel
    ran. The launch is the host's; its length does not follow the clock.

    Raises :class:`uarch.InputError` as the engine does, and if static power alone exceeds the TDP.
    """

    def run(clock_ratio: float) -> tuple[KernelResult, L2State]:
        clocked = at_clock(chip, clock_ratio)
        return execute(clocked, program, l2_state, launch_seconds=launch_seconds, fidelity=fidelity)

    if not chip.power_capped:
        result, state = run(1.0)
        return replace(result, point=operating_point(chip)), state
    highest, tdp = highest_clock_ratio(chip), tdp_watts(chip)
    attempts: list[_Attempt] = []
    ratio, within, above = highest, 0.0, highest * (1 + _NARROW)
    for _ in range(_ATTEMPTS):
        result, state = run(ratio)
        core_share = _core_share(attempts[0].draw, result.seconds, ratio) if attempts else 1.0
        draw = _draw(chip, result, program, ratio, core_share)
        attempts.append(_Attempt(result, state, draw, watts_at(chip, draw, ratio)))
        if attempts[-1].watts > tdp * (1 + _ABOVE):
            above = ratio
        elif ratio == highest or attempts[-1].watts >= tdp * (1 - _BELOW):
            break
        else:
            within = ratio
        if above - within < _NARROW:
            break
        ratio = sustained_clock_ratio(chip, draw)
        if not within < ratio < above:
            ratio = (max(within, LOWEST_CLOCK_RATIO) + above) / 2
    allowed = [attempt for attempt in attempts if attempt.watts <= tdp * (1 + _ABOVE)]
    best = min(allowed, key=lambda attempt: attempt.result.seconds) if allowed else min(attempts, key=lambda a: a.watts)
    return replace(best.result, point=operating_point(chip, best.draw.clock_ratio)), best.state


class _Attempt(NamedTuple):
    """A run at one clock and its power."""

    result: KernelResult
    state: L2State
    draw: Draw
    watts: float


def _draw(chip: Chip, result: KernelResult, program: TileProgramArrays, clock_ratio: float, core_share: float) -> Draw:
    joules = dynamic_joules(chip, result, program.dtype, program.useful_flops // 2)
    own_supply = sum(joules[part] for part in OWN_SUPPLY)
    memory_joules = own_supply - dram_background_watts(chip) * result.seconds
    return Draw(sum(joules.values()) - own_supply, memory_joules, result.seconds, clock_ratio, core_share)


def _core_share(earlier: Draw, seconds: float, clock_ratio: float) -> float:
    """Part of the earlier run's time that scaled with the core clock, by how much longer the slower run took."""
    stretch = earlier.clock_ratio / clock_ratio
    return min(1.0, max(0.0, (seconds / earlier.seconds - 1) / (stretch - 1)))
