"""An all-reduce alone, on one chip of a symmetric group."""

from __future__ import annotations

from kernels.collectives.collectives import all_reduce
from kernels.program.address_space import AddressSpace
from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.datatypes import MatrixDatatype, datatype
from uarch.errors import must_be
from workloads.running.kernel_run import KernelRun, run_programs
from workloads.running.residency import initial_l2
from workloads.settings.choices import KernelFidelity, Residency
from workloads.settings.phase import check_positive
from workloads.single.gemm import check_options, check_space

MESSAGE_COLS = 8192
"""A message is laid out as a matrix of so many columns, as activations are."""


def simulate_all_reduce(
    chip: Chip | str,
    message_bytes: int,
    ranks: int,
    *,
    dtype: MatrixDatatype = "fp16",
    fidelity: KernelFidelity = "tile",
    residency: Residency = "cold",
    library: str = "direct",
) -> KernelRun:
    """Sum a message of ``message_bytes`` over ``ranks`` chips; all end with the sum.

    ``library``: who chooses the algorithm, one of :func:`kernels.collectives.libraries.library_names`. ``chip``, ``fidelity``
    and ``residency`` as in :func:`workloads.single.gemm.simulate_gemm`.

    Raises :class:`uarch.InputError` for an unknown name, a size that is not allowed, or a message that does not fit the chip.
    """
    chip = load_chip(chip) if isinstance(chip, str) else chip
    check_options(dtype, fidelity, residency)
    (ranks,) = check_positive(ranks=ranks)
    if message_bytes < 1:
        raise must_be("message_bytes", message_bytes, "at least 1")
    space, bits = AddressSpace(), datatype(dtype).bits
    elements = max(1, message_bytes * 8 // bits)
    rows = -(-elements // MESSAGE_COLS)
    x, out = (space.allocate(name, rows, min(elements, MESSAGE_COLS), bits) for name in ("x", "out"))
    shape = f"{message_bytes} bytes over {ranks}"
    check_space(chip, f"all_reduce {shape}", space)
    programs = all_reduce("all_reduce", chip, x, out, rank=ranks - 1, ranks=ranks, dtype=dtype, library=library)
    l2 = initial_l2(chip, residency, fidelity, [x], programs)
    return run_programs(chip, "all_reduce", shape, fidelity, [(program, None) for program in programs], l2)
