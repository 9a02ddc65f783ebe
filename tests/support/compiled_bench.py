"""DRAM service times for tests without compiled code: a compiled process measures them."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

from uarch.dram.channels.measured_service import ServiceTicks

_MEASURE = """
import pickle, sys
from uarch.dram.channels.measured_service import _Bench
made_of, measured_for = pickle.load(sys.stdin.buffer)
pickle.dump(_Bench(*made_of).measure(*measured_for), sys.stdout.buffer)
"""


class CompiledBench:
    """Stands in for the bench of :mod:`uarch.dram.channels.measured_service`, whatever that is made of and asked for."""

    def __init__(self, *made_of: Any) -> None:
        self.made_of = made_of

    def measure(self, *measured_for: Any) -> ServiceTicks:
        process = subprocess.run(
            [sys.executable, "-c", _MEASURE],
            input=pickle.dumps((self.made_of, measured_for)),
            stdout=subprocess.PIPE,
            check=True,
            cwd=Path(__file__).parents[1],
            env=os.environ | {"NUMBA_DISABLE_JIT": "0"},
        )
        ticks = pickle.loads(process.stdout)
        assert isinstance(ticks, ServiceTicks)
        return ticks
