"""An experiment of a few points with a tiny model, in the layout of ``workloads/experiments/*.toml``."""

from __future__ import annotations

from pathlib import Path

from tests.support.tiny_model import write_tiny_llama

_CHIP = """
[chip.{name}]
die_area_mm2 = 800
die_cost_usd = 300
memory_cost_usd = 700
tdp_watts = 600
peak_tensor_pflops = 1
peak_vector_tflops = 50
on_chip_mb = 80
"""

_REST = """
[prices]
title = "prices"
technology = "hbm3"
usd_per_gb = [9]
paper_usd = { spad-decode = [907] }

[[curve]]
name = "bandwidth"
title = "Decode over bandwidth"
axis = "GB/s"
phase = "decode"
batch = 2
seq = 64
chip = "spad-h100"
fields = ["memory.bandwidth_bytes_per_second"]
divide_by = 1e9
values = [1e12, 3.352e12]
reference = 3.352e12
paper = [1.5, 1.0]
tolerance = 10
engine = [3.352e12]

[[grid]]
name = "map"
title = "Prefill"
phase = "prefill"
baseline = "spad-h100"
chips = ["spad-decode"]
batches = [1, 2]
seqs = [16, 4194304]
paper = { spad-decode = 0.7 }
tolerance = 0.001
engine = [[1, 16]]

[[parallel]]
name = "stages"
title = "Stages"
phase = "prefill"
batch = 2
seq = 16
chips = ["spad-h100"]
degrees = [[1, 2], [2, 1]]
paper_seconds = { spad-h100 = [2, 1] }
engine = [[2, 1]]

[[variant]]
name = "fp8"
title = "in fp8"
dtype = "fp8"
prefill = [[1, 16]]
decode = [[1, 16]]
engine = true

[[conclusion]]
name = "cheaper"
title = "decodes more per dollar"
chip = "spad-decode"
phase = "decode"
per = "dollar"
at_least = 1.0

[mechanisms]
prefill = [[1, 16]]
decode = [[1, 16]]
without = ["refresh, row misses and turnarounds (12 % more bandwidth)"]
"""


def write_small_experiment(folder: Path) -> Path:
    """Write model and experiment into ``folder``; returns the experiment's file."""
    model = write_tiny_llama(folder)
    head = [
        'name = "small"',
        'title = "A small experiment"',
        'source = "made up"',
        'baseline = "spad-h100"',
        "[setting]",
        f'model = "{model}"',
        "tp = 1",
        'dtype = "fp16"',
        'attention = "unfused"',
        'stack = "eager"',
    ]
    path = folder / "small.toml"
    chips = "".join(_CHIP.format(name=name) for name in ("spad-decode", "spad-h100"))
    path.write_text("\n".join(head) + "\n" + chips + _REST, encoding="utf-8")
    return path
