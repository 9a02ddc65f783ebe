"""Area, cost and power of a chip in one table, as ``uarch chips`` shows them."""

from __future__ import annotations

from typing import Any, get_args

from uarch.chip.die import YieldModel
from uarch.chip.schema import Chip
from uarch.energy.static_power import static_power
from uarch.power.peak import PeakPower, peak_power
from uarch.silicon.area import area_breakdown_mm2, core_breakdown_mm2, die_area_mm2, modelled_die_area_mm2
from uarch.silicon.cost import die_cost_usd, die_yield, dies_per_wafer, hardware_cost_usd, memory_cost_usd, wafer_usd
from uarch.silicon.tdp import tdp_watts, tdp_watts_by_area


def physical_summary(chip: Chip) -> dict[str, Any]:
    """Area, cost and TDP, units in the keys; JSON-able. The die costs ``None`` if it does not fit on a wafer.

    ``tdp_by_energy_watts``: what the board must supply for matrix products at the peak rate of fp16, or of the first
    datatype of a chip without it.
    """
    fits = dies_per_wafer(chip) > 0
    peak = peak_power(chip, "fp16" if "fp16" in chip.dtypes else chip.dtypes[0])
    board = PeakPower(*(watts / chip.power.delivery_efficiency for watts in peak))
    return {
        "die_area_mm2": die_area_mm2(chip),
        "modelled_die_area_mm2": modelled_die_area_mm2(chip),
        "area_breakdown_mm2": area_breakdown_mm2(chip),
        "core_breakdown_mm2": core_breakdown_mm2(chip),
        "wafer_usd": wafer_usd(chip),
        "dies_per_wafer": dies_per_wafer(chip),
        "yield_fraction": die_yield(chip),
        "yield_fraction_by_model": {model: die_yield(chip, model) for model in get_args(YieldModel)},
        "die_cost_usd": die_cost_usd(chip) if fits else None,
        "memory_cost_usd": memory_cost_usd(chip),
        "packaging_cost_usd": chip.cost.packaging_usd,
        "hardware_cost_usd": hardware_cost_usd(chip) if fits else None,
        "tdp_watts": tdp_watts(chip),
        "tdp_by_area_watts": tdp_watts_by_area(chip),
        "tdp_by_energy_watts": board.watts,
        "tdp_by_energy_low_watts": board.low,
        "tdp_by_energy_high_watts": board.high,
        "static_watts": static_power(chip).watts,
    }
