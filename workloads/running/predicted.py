"""A predictor's seconds as a result in the engine's terms, so that whole phases run with it and leave a trace.

The events are those that the kernel's shape demands (operands read once, results written once); the whole time goes to the
resource that these keep busy longest.
"""

from __future__ import annotations

import numpy as np

from uarch.chip.schema import Chip
from uarch.engine.execute import KernelResult
from uarch.events import Cause, Event
from uarch.picoseconds import picoseconds
from workloads.predictors.kernel import Kernel, Predictor


def execute_predicted(chip: Chip, kernel: Kernel, predictor: Predictor, *, launch_seconds: float) -> KernelResult:
    """Result of a kernel whose time a predictor gives; ``InputError`` if it has no model of it."""
    moved_bytes = int(kernel.dram_read_bytes + kernel.dram_write_bytes)
    busy_seconds = {
        Cause.MATRIX: 2 * kernel.macs / chip.peak_flops(kernel.dtype),
        Cause.VECTOR: 2 * kernel.vector_ops / chip.peak_vector_flops
        + kernel.special_ops / chip.peak_special_ops_per_second,
        Cause.DRAM: moved_bytes / chip.memory.bandwidth_bytes_per_second,
        Cause.LINK: kernel.link_bytes / chip.link.bandwidth_bytes_per_second,
    }
    causes_ps = np.zeros((1, len(Cause)), np.int64)
    causes_ps[0, max(busy_seconds, key=lambda cause: busy_seconds[cause])] = picoseconds(predictor(chip, kernel))
    causes_ps[0, Cause.LAUNCH] = picoseconds(launch_seconds)
    events = np.zeros(len(Event), np.int64)
    for event, count in (
        (Event.MACS, kernel.macs),
        (Event.VECTOR_OPS, kernel.vector_ops),
        (Event.SPECIAL_OPS, kernel.special_ops),
        (Event.L1_BYTES, moved_bytes),
        (Event.L2_READ_BYTES, kernel.dram_read_bytes),
        (Event.L2_WRITE_BYTES, kernel.dram_write_bytes),
        (Event.NOC_BYTES, moved_bytes),
        (Event.DRAM_READ_BYTES, kernel.dram_read_bytes),
        (Event.DRAM_WRITE_BYTES, kernel.dram_write_bytes),
        (Event.LINK_BYTES, kernel.link_bytes),
    ):
        events[event] = int(count)
    return KernelResult(
        total_ps=int(causes_ps.sum()), causes_ps=causes_ps, events=events, tensor_hz=chip.clock.tensor_hz
    )
