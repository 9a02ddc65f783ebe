"""Functional replay of products with quantised and N:M weights and of grouped products, and what they cost.

Exercised with it: weight_steps.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.gemm.gemm import GemmMapping, GemmShape, GroupedShape, Operand, Output, gemm, grouped_gemm
from kernels.gemm.weights import WeightFormat, allocate_weights, plain, weight_format
from kernels.mapping.mapper import Mapper, rank_gemm
from kernels.program.address_space import AddressSpace
from kernels.program.tile_program import TileProgram
from tests.support.replayed import assert_replayed, matrix
from tests.support.small_programs import small_chip
from tests.support.stored_weights import GROUP_SIZE, store_weights, weight_formats
from uarch.datatypes import QUANTISED, datatype
from uarch.engine.execute import KernelResult, execute
from uarch.engine.roofline import compulsory_traffic, execute_analytically
from uarch.errors import InputError
from uarch.events import Cause, Event
from uarch.systolic.sparsity import Structure

sizes = st.one_of(st.integers(1, 70), st.sampled_from([16, 32, 64, 128]))
tiles = st.sampled_from([5, 16, 24, 32, 64])
seeds = st.integers(0, 2**32 - 1)
formats = weight_formats()


def mappings(form: WeightFormat) -> st.SearchStrategy[GemmMapping]:
    tile_k = GROUP_SIZE if form.scales_sums else st.sampled_from([32, 64])
    tile_k = st.just(tile_k) if isinstance(tile_k, int) else tile_k
    return st.builds(GemmMapping, tiles, tiles, tile_k, st.integers(1, 4), st.just(1), st.integers(1, 3))


@given(sizes, sizes, sizes, formats, st.integers(1, 3), seeds, st.data())
def test_weights_in_every_format(
    m: int, n: int, k: int, form: WeightFormat, splits: int, seed: int, data: st.DataObject
) -> None:
    mapping = data.draw(mappings(form))
    mapping = replace(mapping, split_k=min(splits, -(-k // mapping.tile_k)))
    space, shape = AddressSpace(), GemmShape(m, n, k)
    a = space.allocate("a", m, k, datatype(form.matrix_dtype).bits)
    weights = allocate_weights(space, "w", k, n, form)
    out = [Output(Operand(space.allocate("c", m, n, 16)), 0, n)]
    program = gemm("g", shape, Operand(a), weights, out, mapping, space, dtype=form.matrix_dtype)

    stored = store_weights("w", seed, 1, k, n, form)
    x = matrix(seed + 1, m, k)
    assert_replayed(program, {"a": x, **stored.memory}, {"c": x @ stored.dense[0]})
    kept = int(form.kept(k))
    assert program.useful_flops == 2 * m * n * kept
    assert program.macs == m * n * (kept if form.skips_zeros or not form.is_sparse else k)


@given(
    st.lists(st.sampled_from([0, 0, 1, 3, 17, 40]), min_size=1, max_size=6).filter(any),
    sizes,
    sizes,
    formats,
    seeds,
    st.data(),
)
def test_groups_of_rows_with_their_own_weights(
    rows: list[int], n: int, k: int, form: WeightFormat, seed: int, data: st.DataObject
) -> None:
    mapping, space, shape = data.draw(mappings(form)), AddressSpace(), GroupedShape(tuple(rows), n, k)
    total, experts = sum(rows), len(rows)
    a, c = space.allocate("a", total, k, 16), space.allocate("c", total, n, 16)
    weights = allocate_weights(space, "w", k, n, form, batch=experts)
    program = grouped_gemm("g", shape, a, weights, c, mapping, space, dtype=form.matrix_dtype)

    stored = store_weights("w", seed, experts, k, n, form)
    x, expert = matrix(seed + 1, total, k), np.repeat(np.arange(experts), rows)
    expected = np.einsum("rk,rkn->rn", x, stored.dense[expert])
    assert_replayed(program, {"a": x, **stored.memory}, {"c": expected})
    assert program.useful_flops == 2 * total * n * int(form.kept(k))


def weighted(form: WeightFormat, m: int, n: int, k: int, mapping: GemmMapping) -> TileProgram:
    space = AddressSpace()
    a, weights = space.allocate("a", m, k, 16), allocate_weights(space, "w", k, n, form)
    out = [Output(Operand(space.allocate("c", m, n, 16)), 0, n)]
    return gemm("g", GemmShape(m, n, k), Operand(a), weights, out, mapping, space, dtype=form.matrix_dtype)


@pytest.mark.parametrize(
    ("form", "bits_per_weight"),
    [
        (plain("fp16"), 16),
        (WeightFormat("int4", "fp16", True, 128), 4 + 16 / 128),
        (WeightFormat("int8", "fp16", True), 8 + 16 / 512),
        (WeightFormat("fp4", "fp16", True, 128), 4 + 16 / 128),
        (WeightFormat("mxfp4", "fp16", True, 32), 4 + 8 / 32),
        (replace(plain("fp16"), structure=Structure(2, 4), skips_zeros=True), 0.5 * (16 + 2)),
    ],
    ids=str,
)
def test_bytes_are_those_of_values_scales_and_indices(form: WeightFormat, bits_per_weight: float) -> None:
    """512 x 256 weights; 16 rows of A and of C in fp16."""
    program = weighted(form, 16, 256, 512, GemmMapping(16, 128, 128, 2))
    traffic = compulsory_traffic(program)
    assert traffic.read_bytes == 512 * 256 * bits_per_weight / 8 + 16 * 512 * 2
    result, _ = execute(small_chip(), program)
    assert result.count(Event.DRAM_READ_BYTES) == traffic.read_bytes
    assert result.count(Event.MACS) == program.macs
    assert result.seconds >= execute_analytically(small_chip(), program).seconds


SPARSE_PRODUCT = (GemmMapping(128, 128, 64, 4), (1024, 512, 1024))
"""On four cores of an H100: 8 blocks of 128 x 128 a core, each of 16 steps of 128 x 128 x 64."""
WIDE = ("noc.read_bytes_per_cycle_per_core=6400", "core.l1.bank_bytes=400", "memory.bandwidth_bytes_per_second=20e12")
"""Ports, L1 and memory that no product waits for."""


def dense_and_sparse(*overrides: str) -> tuple[KernelResult, KernelResult]:
    """The same product with weights in fp16, and with two of every four of them zero, on a chip whose arrays skip those."""
    chip, (mapping, sizes) = small_chip("h100", "core.step_gap_cycles=0", *overrides), SPARSE_PRODUCT
    form = weight_format(chip, "fp16", sparsity="2:4")
    dense, _ = execute(chip, weighted(plain("fp16"), *sizes, mapping))
    sparse, _ = execute(chip, weighted(form, *sizes, mapping))
    assert sparse.count(Event.MACS) * 2 == dense.count(Event.MACS)
    assert sparse.count(Event.VECTOR_OPS) == dense.count(Event.VECTOR_OPS)
    return dense, sparse


def test_structured_sparsity_halves_what_the_arrays_take_and_nothing_else() -> None:
    """With nothing else in the way, the gain is that of the arrays' time, diluted by what sparsity leaves as it is.

    A core does 128 steps of 128 x 128 x 64 MACs with 4 x 16 x 32 PEs: 512 cycles each, 35.8 us at 1.83 GHz; 17.9 us of half
    the MACs. Fills of the arrays, 0.1 us a block, the launch of 3.3 us and the first loads stay.
    """
    dense, sparse = dense_and_sparse(*WIDE)
    saved = dense.seconds - sparse.seconds
    assert dense.cause_seconds(Cause.MATRIX) == pytest.approx(35.8e-6, rel=0.02)
    assert saved == pytest.approx(17.9e-6, rel=0.05)
    assert 1.6 < dense.seconds / sparse.seconds < 2


def test_structured_sparsity_gains_no_more_than_the_ports_of_the_cores_allow() -> None:
    """Zeros are skipped in weights only: every column of A still crosses a core's port, which is what bounds this product.

    A step loads 16 KB of A and 16 KB of weights in 512 L2 cycles (335 ns at 1.53 GHz), the arrays need 280 ns; sparse, 8 KB
    of weights and 1 KB of their places, 400 cycles (261 ns), while the arrays need 140 and L1, from which A is read as before,
    227 ns. The gain is at most 32 / 25, less what both wait for at the start and the end. It is smaller still where L2 loses
    operands and memory is asked again: most of that is hidden behind the ports of the dense product, not of the sparse one.
    """
    ample_l2 = dense_and_sparse("l2.bytes=16777216")
    port_seconds = [result.count(Event.NOC_BYTES) / 4 / (64 * 1.53e9) for result in ample_l2]
    assert port_seconds[0] / port_seconds[1] == pytest.approx(1.26, abs=0.01)
    for result, port in zip(ample_l2, port_seconds, strict=True):
        assert port < result.seconds < 1.25 * port
        assert port > result.cause_seconds(Cause.MATRIX)
    assert 1.1 < ample_l2[0].seconds / ample_l2[1].seconds < 32 / 25
    small_l2 = dense_and_sparse()
    assert 1 < small_l2[0].seconds / small_l2[1].seconds < ample_l2[0].seconds / ample_l2[1].seconds


def test_zeros_are_put_back_where_the_arrays_do_not_skip_them() -> None:
    """A chip without such arrays does all MACs, and eight rows of tiles each put every one of the 1024 x 512 weights back."""
    chip, (mapping, sizes) = small_chip("spad-h100"), SPARSE_PRODUCT
    dense, _ = execute(chip, weighted(plain("fp16"), *sizes, mapping))
    expanded, _ = execute(chip, weighted(weight_format(chip, "fp16", sparsity="2:4"), *sizes, mapping))
    assert expanded.count(Event.MACS) == dense.count(Event.MACS)
    assert expanded.count(Event.VECTOR_OPS) - dense.count(Event.VECTOR_OPS) == 8 * 1024 * 512


@pytest.mark.compiled("too large for the interpreter")
def test_narrow_weights_speed_up_a_product_that_memory_bounds() -> None:
    seconds = {}
    for dtype in ("fp16", "int8", "int4"):
        form = weight_format(small_chip(), "fp16", weight_dtype=None if dtype == "fp16" else dtype)

        def build(mapping: GemmMapping, form: WeightFormat = form) -> TileProgram:
            return weighted(form, 8, 2048, 4096, mapping)

        mapping = Mapper(small_chip()).gemm(GemmShape(8, 2048, 4096), build, weights=form)
        seconds[dtype] = execute(small_chip(), build(mapping))[0].seconds
    assert seconds["int4"] < 0.7 * seconds["int8"] < 0.7 * 0.7 * seconds["fp16"]


@given(sizes, sizes, st.sampled_from([32, 200, 1024]), formats)
def test_all_ranked_mappings_can_be_executed_and_do_all_work(m: int, n: int, k: int, form: WeightFormat) -> None:
    ranked = rank_gemm(small_chip(), GemmShape(m, n, k), dtype=form.matrix_dtype, weights=form)
    for estimate in ranked[:: max(1, len(ranked) // 3)]:
        program = weighted(form, m, n, k, estimate.mapping)
        executed = execute(small_chip(), program)[0].count(Event.MACS)
        assert executed == program.macs or (estimate.mapping.whole_tiles and executed > program.macs)


@given(st.sampled_from([1, 8, 100]), st.sampled_from([96, 512]), st.sampled_from([256, 1024]), st.integers(0, 3))
def test_one_expert_costs_what_a_plain_gemm_does(m: int, n: int, k: int, others: int) -> None:
    """The mapper proposes the same mappings, and the programs take the same time to the picosecond."""
    shape, grouped = GemmShape(m, n, k), GroupedShape((m, *(0,) * others), n, k)
    form = plain("fp16")
    assert rank_gemm(small_chip(), shape) == rank_gemm(small_chip(), grouped, weights=form)
    mapping = rank_gemm(small_chip(), shape)[0].mapping
    space = AddressSpace()
    a, c = space.allocate("a", m, k, 16), space.allocate("c", m, n, 16)
    weights = allocate_weights(space, "w", k, n, form, batch=1 + others)
    one = grouped_gemm("g", grouped, a, weights, c, mapping, space)
    alone = gemm("g", shape, Operand(a), Operand(weights.values), [Output(Operand(c), 0, n)], mapping, space)
    assert execute(small_chip(), one)[0].total_ps == execute(small_chip(), alone)[0].total_ps


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"weight_dtype": "fp32"},
            "weight_dtype = 'fp32': not possible with dtype fp16; allowed: fp16, fp8, int8, int4, fp4, mxfp4",
        ),
        ({"weight_dtype": "int8", "dtype": "fp8"}, "allowed: fp8, int4, fp4, mxfp4"),
        ({"group_size": 64}, "group_size = 64: weights in fp16 have no scales"),
        ({"weight_dtype": "int4", "group_size": 48}, "group_size = 48: must be a power of two from 32 to 1024"),
        ({"weight_dtype": "mxfp4", "group_size": 64}, "group_size = 64: must be 32, the block of mxfp4"),
        ({"sparsity": "4:2"}, "weight_sparsity = '4:2': must be N:M"),
        ({"sparsity": "2:5"}, "weight_sparsity = '2:5': M must be"),
    ],
)
def test_formats_that_are_refused(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError) as caught:
        weight_format(small_chip(), **{"dtype": "fp16", **options})
    assert expected in str(caught.value)


def test_scales_where_nothing_is_said() -> None:
    """As checkpoints have them: 4-bit types in groups, 8-bit types with one scale a column, weights as activations none."""
    forms = {name: weight_format(small_chip(), "fp16", weight_dtype=name) for name in QUANTISED}
    assert [str(form) for form in forms.values()] == [
        "fp8 per column",
        "int8 per column",
        "int4 g128",
        "fp4 g128",
        "mxfp4 g32",
    ]
    assert weight_format(small_chip(), "fp16", weight_dtype="mxfp4", group_size=32) == forms["mxfp4"]
    assert weight_format(small_chip(), "fp8") == plain("fp8")


def test_weights_in_mxfp4_are_converted_on_chips_without_such_arrays() -> None:
    """A weight takes 4.25 bits of memory traffic instead of 16, a conversion, and half an operation for its scale."""
    sizes, mapping = (8, 256, 1024), GemmMapping(8, 128, 128, 4)
    plain_run, _ = execute(small_chip(), weighted(plain("fp16"), *sizes, mapping))
    form = weight_format(small_chip(), "fp16", weight_dtype="mxfp4")
    narrow, _ = execute(small_chip(), weighted(form, *sizes, mapping))
    weights = 256 * 1024
    saved_bits = (plain_run.count(Event.DRAM_READ_BYTES) - narrow.count(Event.DRAM_READ_BYTES)) * 8
    assert saved_bits == weights * (16 - 4.25)
    assert narrow.count(Event.MACS) == plain_run.count(Event.MACS)
    assert narrow.count(Event.VECTOR_OPS) - plain_run.count(Event.VECTOR_OPS) == 1.5 * weights


def test_a_mapping_that_cuts_through_groups_is_refused() -> None:
    with pytest.raises(ValueError, match="tile_k 32 does not suit weights in int4 g128"):
        weighted(WeightFormat("int4", "fp16", True, 128), 8, 8, 256, GemmMapping(8, 8, 32, 2))


@given(st.lists(st.sampled_from([0, 0, 1, 9, 70]), min_size=1, max_size=6).filter(any), formats)
def test_a_grouped_product_reads_the_weights_of_experts_with_rows_once(rows: list[int], form: WeightFormat) -> None:
    """192 x 128 weights: values, indices and scales of every expert that has rows, and every row of A."""
    n, k, space = 192, 128, AddressSpace()
    total = sum(rows)
    a, c = space.allocate("a", total, k, 16), space.allocate("c", total, n, 16)
    weights = allocate_weights(space, "w", k, n, form, batch=len(rows))
    mapping = GemmMapping(32, 64, GROUP_SIZE if form.scales_sums else 64, 2)
    shape = GroupedShape(tuple(rows), n, k)
    program = grouped_gemm("g", shape, a, weights, c, mapping, space, dtype=form.matrix_dtype)
    traffic = compulsory_traffic(program)
    of_expert = form.matrix_bits(k, n) // 8
    # Experts' rows of a tensor may share a granule, but never a row of it.
    assert traffic.read_bytes == total * k * 2 + np.count_nonzero(rows) * of_expert
    assert traffic.written_bytes == total * n * 2
