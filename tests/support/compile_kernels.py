"""Compile the jitted kernels that most tests call, once, before several processes share them.

They go into the cache that ``NUMBA_CACHE_DIR`` names.
"""

from __future__ import annotations

import gc


def compile_kernels() -> None:
    """Run a small model with each model of DRAM, and once more with its timeline."""
    import uarch

    for options in ({"fidelity": "tile"}, {"fidelity": "burst"}, {"timeline_limit": 1}):
        uarch.simulate("spad-h100", "llama-68m", "prefill", batch=1, seq=16, **options)


if __name__ == "__main__":
    gc.disable()  # most of what a compiler makes stays: to look for the rest takes a quarter of its time
    compile_kernels()
