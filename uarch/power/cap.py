"""The power cap: the clock that a chip sustains under its TDP.

``static(f, board) + (E_core V(f)^2 / V_nominal^2 + E_memory) / time(f) = delivery efficiency x board``, with a board that draws
at most the TDP. Core energy (arrays, vector units, SRAM, network) scales with the square of the voltage that the clock needs;
memory and link have supplies of their own; static power grows with the temperature that the board's power causes
(:mod:`uarch.energy.static_power`). Nothing here is particular to a chip but its TDP and its voltage-frequency curve.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from uarch.chip.schema import Chip
from uarch.energy.static_power import board_watts, dram_background_watts, static_power
from uarch.energy.supply_voltage import operating_point
from uarch.errors import InputError
from uarch.silicon.tdp import tdp_watts

LOWEST_CLOCK_RATIO = 0.15
"""Below this clock (210 of 1410 MHz on an A100) memory and link are slowed together with the core."""
CLOCK_STEPS = 1024
"""Steps of the nominal clock in which the clock is set."""


class Draw(NamedTuple):
    """Energy and time that a kernel took in a run at ``clock_ratio``."""

    core_joules: float
    """Dynamic energy of the core at the energy table's voltage."""
    memory_joules: float
    """Energy of DRAM commands and link, whose voltage does not follow the clock."""
    seconds: float
    clock_ratio: float
    core_share: float = 1.0
    """Part of ``seconds`` that is inversely proportional to the core clock."""

    def seconds_at(self, clock_ratio: float) -> float:
        """Time at another clock."""
        stretch = bandwidth_ratio(self.clock_ratio) / bandwidth_ratio(clock_ratio)
        return self.seconds * ((1 - self.core_share) * stretch + self.core_share * self.clock_ratio / clock_ratio)


def bandwidth_ratio(clock_ratio: float) -> float:
    """Bandwidth of memory and link at a clock, over that of the chip file."""
    return min(1.0, clock_ratio / LOWEST_CLOCK_RATIO)


def watts_at(chip: Chip, draw: Draw, clock_ratio: float) -> float:
    """Power of the board if the kernel of ``draw`` ran at another clock."""
    point = operating_point(chip, clock_ratio)
    dynamic_joules = draw.core_joules * point.core_energy + draw.memory_joules
    return board_watts(chip, point, dram_background_watts(chip) + dynamic_joules / draw.seconds_at(clock_ratio))


def sustained_clock_ratio(chip: Chip, draw: Draw) -> float:
    """Highest clock ratio, up to the chip's highest, at which the power stays within the TDP.

    Raises :class:`InputError` if static power alone exceeds the TDP.
    """
    highest, tdp = highest_clock_ratio(chip), tdp_watts(chip)
    if watts_at(chip, draw, highest) <= tdp:
        return highest
    low, high = 1, ceil(highest * CLOCK_STEPS)
    if watts_at(chip, draw, low / CLOCK_STEPS) > tdp:
        always = static_power(chip).watts + dram_background_watts(chip)
        raise InputError(
            f"power.tdp_watts = {tdp:g}: {chip.name} exceeds it at any clock, "
            f"it draws {always:.0f} W without doing anything; allowed: a larger TDP, or power.cap = false"
        )
    while high - low > 1:
        middle = (low + high) // 2
        within = watts_at(chip, draw, middle / CLOCK_STEPS) <= tdp
        low, high = (middle, high) if within else (low, middle)
    return low / CLOCK_STEPS


def at_clock(chip: Chip, clock_ratio: float) -> Chip:
    """The chip with all core clocks at ``clock_ratio`` of its own."""
    if clock_ratio == 1:
        return chip
    bandwidth = bandwidth_ratio(clock_ratio)
    clock = {name: hz * clock_ratio for name, hz in chip.clock.model_dump(exclude={"max_tensor_hz"}).items()}
    memory = {"bandwidth_bytes_per_second": chip.memory.bandwidth_bytes_per_second * bandwidth}
    link = {"bandwidth_bytes_per_second": chip.link.bandwidth_bytes_per_second * bandwidth}
    return chip.model_copy(
        update={
            "clock": chip.clock.model_copy(update=clock),
            "memory": chip.memory.model_copy(update=memory),
            "link": chip.link.model_copy(update=link),
        }
    )


def highest_clock_ratio(chip: Chip) -> float:
    """Clock over the nominal one that the chip reaches when power allows; 1 without a power cap."""
    highest = chip.clock.max_tensor_hz or chip.clock.tensor_hz
    return max(1.0, highest / chip.clock.tensor_hz) if chip.power_capped else 1.0


def at_highest_clock(chip: Chip) -> Chip:
    """The chip as it runs when power allows."""
    return at_clock(chip, highest_clock_ratio(chip))
