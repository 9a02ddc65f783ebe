"""Energy of a board by NVIDIA's management library: the counter of joules that it has drawn, regulators included."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

_JOULES_PER_MILLIJOULE = 1e-3


class Meter(Protocol):
    """Something that counts the joules of a board."""

    def joules(self) -> float | None:
        """Joules drawn since some moment in the past; None if they cannot be read."""


class NvmlMeter:
    """The counter of the board with this index, as ``nvmlDeviceGetTotalEnergyConsumption`` gives it (Volta and later).

    What cannot be read is None: on a machine without the library ``pynvml`` (package nvidia-ml-py) or without a driver, and of
    a board that does not count.
    """

    def __init__(self, index: int = 0) -> None:
        self._nvml, self._device = _open(index)

    def joules(self) -> float | None:
        """Joules drawn since the driver was loaded."""
        if self._nvml is None:
            return None
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._device)) * _JOULES_PER_MILLIJOULE
        except self._nvml.NVMLError:
            return None


def _open(index: int) -> tuple[Any, Any]:
    """The library and the device's handle, or (None, None)."""
    try:
        nvml = import_module("pynvml")
    except ImportError:
        return None, None
    try:
        nvml.nvmlInit()
        return nvml, nvml.nvmlDeviceGetHandleByIndex(index)
    except nvml.NVMLError:
        return None, None
