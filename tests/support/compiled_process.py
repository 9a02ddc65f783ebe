"""DRAM service times for tests without compiled code: a compiled process measures them."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

from uarch.dram.channels.measured_service import ServiceTicks
from uarch.dram.controller.options import ControllerOptions
from uarch.dram.standards.standard import Standard

_MEASURE = """
import pickle, sys
from uarch.dram.channels.measured_service import measure
pickle.dump(measure(*pickle.load(sys.stdin.buffer)), sys.stdout.buffer)
"""


def measure(standard: Standard, mapping: str, options: ControllerOptions) -> ServiceTicks:
    """Measure what :func:`uarch.dram.channels.measured_service.measure` does, in a process that compiles its kernels."""
    process = subprocess.run(
        [sys.executable, "-c", _MEASURE],
        input=pickle.dumps((standard, mapping, options)),
        stdout=subprocess.PIPE,
        check=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"NUMBA_DISABLE_JIT": "0"},
    )
    ticks = pickle.loads(process.stdout)
    assert isinstance(ticks, ServiceTicks)
    return ticks
