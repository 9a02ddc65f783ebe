"""Sound traces without a simulator: closed-form times of transformer layers, with a seeded spread."""

from __future__ import annotations

from typing import Any

import numpy as np

from results.analysis.bounds import Peaks, bound_by, totals
from results.analysis.rollup import rollup
from results.trace.schema import CAUSE_FIELDS, STALL_CAUSES, TIMELINE_DTYPE, TIMELINE_TRACKS, Table, layer_table
from results.trace.trace import Trace

CLOCK_HZ = 1.5e9
LAUNCH_SECONDS = 4e-6
VECTOR_PEAK = 60e12
L2_PEAK = 7e12
LINK_PEAK = 450e9

CHIPS = {  # name: FLOP/s of the arrays, DRAM bytes/s
    "chip-a": (1000e12, 3.3e12),
    "chip-b": (1100e12, 2.0e12),
    "chip-c": (500e12, 3.3e12),
}

# name, kind, then FLOP per token on matrix and vector units, weight bytes, activation and link bytes per token
UNFUSED = (
    ("norm_1", "norm", 0, 1e5, 0, 6e4, 0),
    ("qkv", "gemm", 1.54e8, 0, 1.54e8, 4e4, 0),
    ("qk", "attention", 4e6, 0, 0, 4e4, 0),
    ("softmax", "softmax", 0, 2e5, 0, 6e4, 0),
    ("pv", "attention", 4e6, 0, 0, 4e4, 0),
    ("projection", "gemm", 5.1e7, 0, 5.1e7, 3e4, 0),
    ("all_reduce_1", "all_reduce", 0, 0, 0, 6e4, 4e4),
    ("norm_2", "norm", 0, 1e5, 0, 6e4, 0),
    ("ffn_up", "gemm", 2.05e8, 0, 2.05e8, 4e4, 0),
    ("gelu", "activation", 0, 1e5, 0, 3e4, 0),
    ("ffn_down", "gemm", 2.05e8, 0, 2.05e8, 4e4, 0),
    ("all_reduce_2", "all_reduce", 0, 0, 0, 6e4, 4e4),
)
FUSED = (
    ("norm_1", "norm", 0, 5e4, 0, 3e4, 0),
    ("qkv", "gemm", 4.2e7, 0, 4.2e7, 2e4, 0),
    ("rope", "rope", 0, 2e4, 0, 1e4, 0),
    ("attention", "attention", 8.4e6, 1e5, 0, 1e4, 0),
    ("projection", "gemm", 3.4e7, 0, 3.4e7, 2e4, 0),
    ("all_reduce_1", "all_reduce", 0, 0, 0, 3e4, 2.4e4),
    ("norm_2", "norm", 0, 5e4, 0, 3e4, 0),
    ("gate_up", "gemm", 2.35e8, 0, 2.35e8, 3e4, 0),
    ("silu", "activation", 0, 5e4, 0, 3e4, 0),
    ("down", "gemm", 1.17e8, 0, 1.17e8, 2e4, 0),
    ("all_reduce_2", "all_reduce", 0, 0, 0, 3e4, 2.4e4),
)
MODELS = {"model-unfused": (UNFUSED, 8), "model-fused": (FUSED, 4)}
TOKENS = {"prefill": 2048, "decode": 32}


def _times(op: tuple[Any, ...], tokens: int, chip: str, random: np.random.Generator) -> dict[str, float]:
    """Seconds by cause: the longest resource hides the others, which keep a seeded part of their own time."""
    _, _, matrix_flops, vector_flops, weight_bytes, activation_bytes, link_bytes = op
    tensor_peak, dram_peak = CHIPS[chip]
    own = {
        "matrix": matrix_flops * tokens / tensor_peak,
        "vector": vector_flops * tokens / VECTOR_PEAK,
        "dram": (weight_bytes + activation_bytes * tokens) / dram_peak,
        "link": link_bytes * tokens / LINK_PEAK,
    }
    longest = max(own.values())
    seconds = dict.fromkeys(STALL_CAUSES, 0.0)
    remaining = longest * 1.1
    for cause in ("matrix", "vector", "link", "dram"):
        seconds[cause] = min(own[cause], remaining)
        remaining -= seconds[cause]
    for cause in ("l1", "l2_noc", "dependency", "idle"):
        seconds[cause] = longest * 0.08 * random.random()
    seconds["launch"] = LAUNCH_SECONDS
    return seconds


def _row(op: tuple[Any, ...], layer: int, tokens: int, chip: str, random: np.random.Generator) -> dict[str, Any]:
    name, kind, matrix_flops, vector_flops, weight_bytes, activation_bytes, link_bytes = op
    by_cause = _times(op, tokens, chip, random)
    cycles = int(np.ceil(sum(by_cause.values()) * CLOCK_HZ))
    seconds = cycles / CLOCK_HZ
    scale = cycles / sum(by_cause.values())
    n_bytes = weight_bytes + activation_bytes * tokens
    return {
        "layer": layer,
        "name": name,
        "kind": kind,
        "shape": f"{tokens} tokens",
        "end_cycle": cycles,
        "seconds": seconds,
        "sustained_hz": CLOCK_HZ,
        **{f"{cause}_cycles": value * scale for cause, value in by_cause.items()},
        "flops": (matrix_flops + vector_flops) * tokens,
        "macs": matrix_flops * tokens / 2 * 1.05,
        "vector_ops": vector_flops * tokens,
        "special_ops": 0.1 * vector_flops * tokens,
        "l1_bytes": 12.0 * n_bytes,
        "l2_bytes": 1.2 * n_bytes,
        "l2_hits": float(int(2 * n_bytes / 8192)),
        "l2_misses": float(int(n_bytes / 8192)),
        "dram_read_bytes": 0.8 * n_bytes,
        "dram_write_bytes": 0.2 * n_bytes,
        "dram_row_hits": float(int(0.9 * n_bytes / 64)),
        "dram_row_misses": float(int(0.1 * n_bytes / 64)),
        "dram_refreshes": float(int(seconds / 3.9e-6)),
        "link_bytes": link_bytes * tokens,
        "matrix_joules": 0.5e-12 * matrix_flops * tokens,
        "vector_joules": 1e-12 * vector_flops * tokens,
        "l1_joules": 12.0 * n_bytes * 1e-12,
        "l2_joules": 3.0 * n_bytes * 8e-12,
        "noc_joules": 3.0 * n_bytes * 4e-12,
        "dram_joules": n_bytes * 40e-12,
        "link_joules": link_bytes * tokens * 10e-12,
        "static_joules": 90 * seconds,
        "utilization": matrix_flops * tokens / (seconds * CHIPS[chip][0]),
    }


def _in_sequence(rows: list[dict[str, Any]], peaks: Peaks) -> Table:
    layers = layer_table(rows)
    layers["end_cycle"] = np.cumsum(layers["end_cycle"])
    layers["start_cycle"][1:] = layers["end_cycle"][:-1]
    layers["bound_by"] = [bound_by(totals(layers[i : i + 1]), peaks).encode() for i in range(len(layers))]
    return layers


def make_timeline(layers: Table, n_cores: int) -> Table:
    """Every core spends each op's time by cause in priority order, in whole picoseconds, as one block of one load."""
    rows = []
    core, block, load = (TIMELINE_TRACKS.index(track) for track in ("core", "block", "load"))
    for op, row in enumerate(layers):
        causes = [float(row[field]) for field in CAUSE_FIELDS]
        ends = np.round(np.cumsum(causes) * (1e12 / CLOCK_HZ)).astype(np.int64).tolist()
        for c in range(n_cores):
            starts = [0, *ends[:-1]]
            rows += [
                (op, c, -1, core, cause, start, end, 0)
                for cause, (start, end) in enumerate(zip(starts, ends, strict=True))
                if end > start
            ]
            rows += [(op, c, c, block, 0, 0, ends[-1], 0), (op, c, c, load, 4, 0, ends[-1] // 2, 4096)]
    return np.array(rows, TIMELINE_DTYPE)


def make_trace(
    seed: int = 0,
    *,
    chip: str = "chip-a",
    model: str = "model-unfused",
    phase: str = "prefill",
    n_layers: int = 3,
    n_cores: int = 0,
) -> Trace:
    """A sound trace; equal arguments give equal traces. With ``n_cores`` it has a timeline of that many cores."""
    random = np.random.default_rng(seed)
    ops, n_chips = MODELS[model]
    tokens = TOKENS[phase]
    head = ("lm_head", "lm_head", 5e7, 0, 5e8, 2e4, 0)
    embedding = ("embedding", "embedding", 0, 0, 0, 6e4, 0)
    rows = [_row(embedding, -1, tokens, chip, random)]
    rows += [_row(op, layer, tokens, chip, random) for layer in range(n_layers) for op in ops]
    rows += [_row(head, -1, 2 if phase == "prefill" else tokens, chip, random)]
    tensor_peak, dram_peak = CHIPS[chip]
    peaks = Peaks(tensor_peak, VECTOR_PEAK, L2_PEAK, dram_peak, LINK_PEAK)
    layers = _in_sequence(rows, peaks)
    numbers = rollup(
        layers,
        clock_hz=CLOCK_HZ,
        phase=phase,
        tokens=tokens,
        n_chips=n_chips,
        peaks=peaks,
        delivery_efficiency=0.9,
    )
    batch = 2 if phase == "prefill" else 32
    return Trace(
        chip={"name": chip, "memory": {"bandwidth_bytes_per_second": dram_peak}},
        workload={"model": model, "phase": phase, "batch": batch, "seq": 1024, "tp": n_chips, "dtype": "fp16"},
        package_version="0.0",
        seed=seed,
        layers=layers,
        rollup=numbers,
        timeline=make_timeline(layers, n_cores) if n_cores else None,
    )
