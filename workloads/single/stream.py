"""A stream alone on a chip: everything is read from memory once, with so much arithmetic for each byte."""

from __future__ import annotations

from kernels.program.address_space import AddressSpace
from kernels.vector.elementwise import read
from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.datatypes import datatype
from uarch.errors import InputError
from workloads.running.kernel_run import KernelRun, run_programs
from workloads.settings.choices import KernelFidelity
from workloads.settings.phase import check_positive
from workloads.single.gemm import check_options, check_space

_COLS = 8192
_DTYPE = "fp16"


def simulate_stream(
    chip: Chip | str, rows: int, *, fma_per_byte: float = 0.0, fidelity: KernelFidelity = "tile"
) -> KernelRun:
    """Read ``rows x 8192`` elements of 16 bits with ``fma_per_byte`` fused multiply-adds of a vector lane for each byte.

    Raises
    ------
    InputError
        For sizes that are not allowed, or more rows than the chip's memory has room for.

    Examples
    --------
    >>> run = simulate_stream("h100", 4096)
    >>> run.bound_by
    'dram'
    """
    chip = load_chip(chip) if isinstance(chip, str) else chip
    check_options(_DTYPE, fidelity)
    check_positive(rows=rows)
    if not 0 <= fma_per_byte <= 1e4:
        raise InputError(f"fma_per_byte = {fma_per_byte}: must be from 0 to 10000")
    space = AddressSpace()
    x = space.allocate("x", rows, _COLS, datatype(_DTYPE).bits)
    check_space(chip, f"stream {rows} x {_COLS}", space)
    program = read("read", chip, x, ops_per_element=fma_per_byte * datatype(_DTYPE).bits / 8, dtype=_DTYPE)
    return run_programs(chip, "read", f"{rows} x {_COLS}", fidelity, [(program, None)])
