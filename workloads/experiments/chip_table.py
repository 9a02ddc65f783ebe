"""The paper's table of chips: areas, costs, power, peaks, capacities; and the hardware cost over memory prices."""

from __future__ import annotations

from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.silicon.area import modelled_die_area_mm2
from uarch.silicon.cost import die_cost_usd, hardware_cost_usd, memory_cost_usd
from uarch.silicon.tdp import tdp_watts_by_area
from workloads.experiments.findings import Comparison
from workloads.experiments.schema import Experiment, Setting
from workloads.layers.capacity import memory_use
from workloads.models.footprint import Footprint
from workloads.models.presets import load_model
from workloads.settings.phase import Phase

_MB = 1 << 20
_RELATIVE = {"modelled die area (mm2)": 0.05, "die cost ($)": 0.01, "memory cost ($)": 0.01, "TDP (W)": 0.01}


def compare_chips(experiment: Experiment) -> list[Comparison]:
    """A row for each number of each chip; the tolerances are relative to the paper's number, made absolute."""
    rows = []
    for name, paper in experiment.chip.items():
        chip = load_chip(name)
        numbers = {
            "modelled die area (mm2)": (paper.die_area_mm2, modelled_die_area_mm2(chip)),
            "die cost ($)": (paper.die_cost_usd, die_cost_usd(chip)),
            "memory cost ($)": (paper.memory_cost_usd, memory_cost_usd(chip)),
            "TDP (W)": (paper.tdp_watts, tdp_watts_by_area(chip)),
            "fp16 tensor PFLOP/s": (paper.peak_tensor_pflops, chip.peak_flops("fp16") / 1e15),
            "fp32 vector TFLOP/s": (paper.peak_vector_tflops, chip.peak_vector_flops / 1e12),
            "L1 + L2 (MB)": (paper.on_chip_mb, chip.on_chip_bytes / _MB),
        }
        for quantity, (stated, found) in numbers.items():
            relative = _RELATIVE.get(quantity)
            tolerance = relative * stated if relative else None
            rows.append(Comparison("table-3", f"{name}: {quantity}", stated, found, None, tolerance))
        if paper.kv_cache_thousand_tokens:
            tokens = kv_cache_tokens(chip, experiment.setting) / 1e3
            text = f"{name}: KV cache of {experiment.setting.tp} chips (1000 tokens)"
            rows.append(Comparison("capacity", text, paper.kv_cache_thousand_tokens, tokens, None))
    return rows + _compare_prices(experiment)


def kv_cache_tokens(chip: Chip, setting: Setting) -> int:
    """Tokens whose KV cache fits beside the weights."""
    bits = Phase("decode", 1, 1, dtype=setting.dtype).element_bits
    use = memory_use(chip, load_model(setting.model), Footprint(1, 1, 1, 1, setting.tp, bits, False))
    return (use.usable_bytes - use.weight_bytes) // use.kv_cache_bytes


def _compare_prices(experiment: Experiment) -> list[Comparison]:
    prices = experiment.prices
    return [
        Comparison(
            "table-9",
            f"{name}: hardware cost ($) at {price:g} $/GB",
            paper,
            hardware_cost_usd(load_chip(name, [f"cost.memory_usd_per_gb={float(price)}"])),
            None,
            0.01 * paper,
        )
        for name, stated in prices.paper_usd.items()
        for price, paper in zip(prices.usd_per_gb, stated, strict=True)
    ]
