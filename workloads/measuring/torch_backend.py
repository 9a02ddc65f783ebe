"""PyTorch on CUDA devices, timed by CUDA events."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from importlib import import_module
from typing import Any

from uarch.errors import InputError
from workloads.measuring.nvml_meter import NvmlMeter
from workloads.measuring.plan import Job
from workloads.measuring.timing import Device

_HOLD_CYCLES = 200_000
"""About 0.1 ms: longer than the host takes to queue an event and a kernel."""
_FLUSH_L2_SIZES = 4
"""A buffer of so many times the L2 is written to flush it."""
_QUERY = ("nvidia-smi", "--query-gpu=driver_version,clocks.sm,clocks.mem,power.draw", "--format=csv,noheader", "--id=0")


def open_torch() -> TorchBackend:
    """The backend on the first CUDA device.

    Raises :class:`uarch.InputError` if PyTorch is not installed or finds no device.
    """
    try:
        torch = import_module("torch")
    except ImportError as error:
        raise InputError(
            "measure: needs PyTorch with CUDA, which is not installed: pip install 'uarch[measure]'"
        ) from error
    if not torch.cuda.is_available():
        raise InputError("measure: PyTorch finds no CUDA device; times are taken on the machine's own GPU")
    return TorchBackend(torch)


class TorchBackend:
    """Backend of :mod:`workloads.measuring.timing` that runs kernels with PyTorch on a CUDA device."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._cuda = torch.cuda
        self._meter = NvmlMeter()
        l2_bytes = getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 0) or 64 << 20
        self._flushed = torch.empty(_FLUSH_L2_SIZES * l2_bytes, dtype=torch.int8, device="cuda")

    def device(self) -> Device:
        """The first CUDA device."""
        free_bytes, _ = self._cuda.mem_get_info(0)
        driver = _query().split(", ")[0]
        software = ", ".join(filter(None, (driver and f"driver {driver}", f"torch {self._torch.__version__}")))
        return Device(self._cuda.get_device_name(0), self._cuda.device_count(), free_bytes, software)

    def prepare(self, job: Job) -> Callable[[], None]:
        """Random fp16 operands in device memory, and the library's own kernel for the operation."""
        c = job.columns
        if job.suite == "gemm":
            return self._gemm(c["M"], c["N"], c["K"])
        if job.suite == "attention":
            return self._attention(**{name: c[name] for name in c if name not in ("phase", "causal")})
        if job.suite == "elementwise":
            return self._vector_kernel(c["op"], c["rows"], c["cols"])
        return self._all_reduce(c["devices"], c["bytes"])

    def flush_l2(self) -> None:
        """Write a buffer that is much larger than the L2."""
        self._flushed.zero_()

    def hold(self) -> None:
        """Spin on the device."""
        self._cuda._sleep(_HOLD_CYCLES)

    def seconds(self, launch: Callable[[], None]) -> float:
        """Between CUDA events."""
        start, end = (self._cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        launch()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) * 1e-3

    def joules(self) -> float | None:
        """Joules by the board's own counter, once the device has nothing more to do."""
        self._cuda.synchronize()
        return self._meter.joules()

    def state(self) -> str:
        """Clocks and power by nvidia-smi."""
        _, *values = _query().split(", ")
        return f"SM {values[0]}, memory {values[1]}, {values[2]}" if len(values) == 3 else ""

    def _random(self, *shape: int, device: str = "cuda:0") -> Any:
        return self._torch.randn(*shape, dtype=self._torch.float16, device=device)

    def _gemm(self, m: int, n: int, k: int) -> Callable[[], None]:
        a, b, out = self._random(m, k), self._random(k, n), self._random(m, n)
        return lambda: self._torch.matmul(a, b, out=out)

    def _attention(
        self, *, batch: int, q_heads: int, kv_heads: int, head_dim: int, q_len: int, kv_len: int
    ) -> Callable[[], None]:
        q = self._random(batch, q_heads, q_len, head_dim)
        k, v = (self._random(batch, kv_heads, kv_len, head_dim) for _ in range(2))
        attention = self._torch.nn.functional.scaled_dot_product_attention
        return lambda: attention(q, k, v, is_causal=q_len > 1, enable_gqa=True)

    def _vector_kernel(self, op: str, rows: int, cols: int) -> Callable[[], None]:
        functional = self._torch.nn.functional
        x, y = self._random(rows, cols), self._random(rows, cols)
        weight, bias = self._random(cols), self._random(cols)
        kernels: dict[str, Callable[[], None]] = {
            "residual_add": lambda: x.add_(y),
            "layernorm": lambda: functional.layer_norm(x, (cols,), weight, bias),
            "gelu": lambda: functional.gelu(x, approximate="tanh"),
            "softmax": lambda: functional.softmax(x, dim=-1),
            "copy": lambda: y.copy_(x),
        }
        return kernels[op]

    def _all_reduce(self, devices: int, size_bytes: int) -> Callable[[], None]:
        parts = [self._random(size_bytes // 2, device=f"cuda:{i}") for i in range(devices)]
        return lambda: self._cuda.nccl.all_reduce(parts)


def _query() -> str:
    """Driver, clocks and power; empty if nvidia-smi cannot tell."""
    try:
        return subprocess.run(_QUERY, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
