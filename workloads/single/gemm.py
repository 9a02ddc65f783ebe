"""One kernel alone on a chip, and a GEMM as such a kernel; attention is in :mod:`workloads.single.attention`.

The kernel runs without launch overhead, and begins with a cold L2 unless told otherwise: what it costs by itself, whatever
stack and model it is used in.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kernels.gemm.gemm import GemmMapping, GemmShape, Operand, Output, gemm
from kernels.gemm.weights import allocate_weights, plain, weight_format
from kernels.mapping.mapper import Mapper
from kernels.program.address_space import AddressSpace
from kernels.program.tile_program import TileProgram
from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.datatypes import Datatype, MatrixDatatype, check_matrix_datatype, datatype
from uarch.errors import InputError
from workloads.running.kernel_run import KernelRun, run_programs
from workloads.running.residency import initial_l2
from workloads.settings.choices import KernelFidelity, Residency, check_choice, runs_engine
from workloads.settings.phase import check_positive

_GIB = 1 << 30


def simulate_gemm(
    chip: Chip | str,
    m: int,
    n: int,
    k: int,
    *,
    batch: int = 1,
    dtype: MatrixDatatype = "fp16",
    fidelity: KernelFidelity = "tile",
    residency: Residency = "cold",
    weight_dtype: Datatype | None = None,
    group_size: int | None = None,
    weight_sparsity: str | None = None,
    exhaustive: bool = False,
) -> KernelRun:
    """Run ``batch`` products C = A B alone on a chip, with A of ``m x k`` and B of ``k x n``, row-major in device memory.

    Parameters
    ----------
    chip
        A chip, the name of a preset, or the path of a chip file.
    m, n, k, batch
        Sizes of the products, and how many there are.
    dtype
        Datatype of A, B and C, and of the arrays' work.
    fidelity
        ``analytical``, ``tile`` or ``burst``.
    residency
        What L2 holds at the start: ``cold`` (nothing), ``inputs`` (A) or ``warm`` (what a run before left).
    weight_dtype, group_size, weight_sparsity
        How B is stored: see :func:`kernels.gemm.weights.weight_format`.
    exhaustive
        Whether to try every mapping on the engine, not the most promising alone; for small products.

    Returns
    -------
    KernelRun
        Cycles, seconds, bytes by level, joules by component, causes of the cores' time, and the mapping.

    Raises
    ------
    InputError
        For an unknown name, a size that is not allowed, or operands that do not fit the chip.

    Examples
    --------
    >>> import uarch
    >>> run = uarch.simulate_gemm("h100", 16, 4096, 4096)
    >>> run.bound_by, 1e-5 < run.seconds < 2e-5
    ('dram', True)
    """
    chip = load_chip(chip) if isinstance(chip, str) else chip
    check_options(dtype, fidelity, residency)
    m, n, k, batch = check_positive(m=m, n=n, k=k, batch=batch)
    form = weight_format(chip, dtype, weight_dtype=weight_dtype, group_size=group_size, sparsity=weight_sparsity)
    shape, space, bits = GemmShape(m, n, k, batch), AddressSpace(), datatype(dtype).bits
    entry = np.arange(batch) if batch > 1 else 0
    a = Operand(space.allocate("a", m, k, bits, batch=batch), batch=entry)
    b = replace(allocate_weights(space, "b", k, n, form, batch=batch), entry=entry)
    c = Operand(space.allocate("c", m, n, bits, batch=batch), batch=entry)
    check_space(chip, f"gemm {shape}", space)

    def build(mapping: GemmMapping) -> TileProgram:
        return gemm("gemm", shape, a, b, [Output(c, 0, n)], mapping, space, dtype=dtype)

    mapper = replace(mapper_for(chip, dtype, fidelity), exhaustive=exhaustive)
    search = mapper.search_gemm(shape, build, weights=form)
    program = build(search.mapping)
    text = str(shape) if form == plain(dtype) else f"{shape}, weights {form}"
    l2 = initial_l2(chip, residency, fidelity, [a.tensor], [program])
    return run_programs(chip, "gemm", text, fidelity, [(program, search)], l2)


def mapper_for(chip: Chip, dtype: str, fidelity: str) -> Mapper:
    """Make the mapper that suits a fidelity: only those of the engine try mappings on it."""
    return Mapper(chip, dtype, on_engine=runs_engine(fidelity))


def check_options(dtype: str, fidelity: str, residency: str = "cold") -> None:
    """Raise :class:`uarch.InputError` for a name that is none of the known ones."""
    check_matrix_datatype(dtype)
    check_choice("fidelity", fidelity, KernelFidelity)
    check_choice("residency", residency, Residency)


def check_space(chip: Chip, kernel: str, space: AddressSpace) -> None:
    """Raise :class:`uarch.InputError` if the tensors do not fit into the chip's memory."""
    if space.size_bytes > chip.capacity_bytes:
        needed, allowed = space.size_bytes / _GIB, chip.capacity_bytes / _GIB
        raise InputError(f"{kernel}: its tensors take {needed:.2f} GiB; allowed on {chip.name}: {allowed:g} GiB")
