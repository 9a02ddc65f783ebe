"""Sweeps that take milliseconds a point: over area, cost and power alone, or with a run of a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.tiny_model import write_tiny_llama
from workloads.sweep.schema import Sweep
from workloads.sweep.sweep_file import load_sweep


def static_sweep(**changed: Any) -> Sweep:
    """Nine chips by cores and L2, without a run; keywords replace tables of the file."""
    fields: dict[str, Any] = {
        "name": "small",
        "title": "Area and power of nine chips",
        "chip": "h100",
        "parameter": {"core.count": {"values": [66, 99, 132]}, "l2.bytes": {"values": [16777216, 33554432, 50331648]}},
        "derived": {"die.cores": "core.count * 12 // 11"},
        "objective": [{"minimise": "die_area_mm2"}, {"maximise": "core.count * l2.bytes", "name": "size"}],
    }
    return Sweep.model_validate(fields | changed)


def run_sweep_file(folder: Path, points: int = 6, **changed: Any) -> Path:
    """Sweep file of a random sample that decodes a step of a tiny model at every point."""
    model = write_tiny_llama(folder)
    fields: dict[str, Any] = {
        "name": "tiny",
        "title": "A step of a tiny model",
        "chip": "h100",
        "run": {"decode": {"model": str(model), "phase": "decode", "batch": 4, "seq": 128}},
        "parameter": {
            "core.count": {"low": 8, "high": 128},
            "memory.bandwidth_bytes_per_second": {"low": 1e12, "high": 4e12, "scale": "log"},
        },
        "sampling": {"method": "random", "points": points},
        "objective": [{"minimise": "decode.seconds"}],
    }
    path = folder / "tiny.toml"
    path.write_text("".join(f"{name} = {_inline(value)}\n" for name, value in (fields | changed).items()))
    return path


def run_sweep_of(folder: Path, points: int = 6, **changed: Any) -> Sweep:
    """Sweep of :func:`run_sweep_file`, loaded."""
    return load_sweep(str(run_sweep_file(folder, points, **changed)))


def _inline(value: Any) -> str:
    """Value as TOML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {_inline(each)}" for name, each in value.items()) + "}"
    return "[" + ", ".join(map(_inline, value)) + "]" if isinstance(value, list) else json.dumps(value)
