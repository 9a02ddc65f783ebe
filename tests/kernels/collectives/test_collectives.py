"""Tensor-parallel collectives: all ranks replayed in turn on memories that they share, against the sum."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.collectives.chunks import chunk_columns
from kernels.collectives.collectives import all_gather, all_reduce, all_reduce_one_shot, point_to_point, reduce_scatter
from kernels.collectives.libraries import (
    choices,
    library_names,
    load_library,
    one_shot_seconds,
    payload_bytes_per_second,
    two_phase_seconds,
)
from kernels.collectives.ring import ring_all_reduce
from kernels.program.address_space import AddressSpace, Tensor
from kernels.program.tile_program import TileProgram
from kernels.replay.interpreter import replay
from uarch.chip_file import load_chip
from uarch.errors import InputError
from uarch.program.records import Residence

Matrix = npt.NDArray[np.float64]
Build = Callable[[int], tuple[TileProgram, ...]]

CHIP = load_chip("h100", ["core.count=1"])
rank_counts = st.integers(2, 6)
row_counts = st.sampled_from([1, 2, 63, 65, 130])
col_counts = st.sampled_from([1, 63, 64, 65, 200, 385, 600])
seeds = st.integers(0, 2**32 - 1)


def tensors(rows: int, cols: int, bits: int = 16) -> tuple[Tensor, Tensor]:
    space = AddressSpace()
    return space.allocate("x", rows, cols, bits), space.allocate("out", rows, cols, bits)


def run_all_ranks(
    build: Build, matrices: dict[str, list[Matrix]], ranks: int
) -> list[dict[str, npt.NDArray[np.int64]]]:
    """Phase after phase, rank after rank; ``matrices``: those of all ranks, changed in place. Returns write counts."""
    programs = [build(rank) for rank in range(ranks)]
    counts: list[dict[str, npt.NDArray[np.int64]]] = [{} for _ in range(ranks)]
    for phase in range(len(programs[0])):
        for rank in range(ranks):
            memory = {name: of_rank[rank] for name, of_rank in matrices.items()}
            for name, of_rank in matrices.items():
                memory |= {f"{name}@{peer}": of_rank[peer] for peer in range(ranks) if peer != rank}
            for name, count in replay(programs[rank][phase], memory).items():
                counts[rank][name] = counts[rank].get(name, 0) + count
    return counts


def partial_sums(seed: int, ranks: int, rows: int, cols: int) -> tuple[list[Matrix], list[Matrix], Matrix]:
    """Every rank's x, its empty out, and the sum of all x."""
    x = np.random.default_rng(seed).normal(size=(ranks, rows, cols))
    return list(x.copy()), [np.full((rows, cols), np.nan) for _ in range(ranks)], x.sum(axis=0)


@settings(deadline=None)
@given(rank_counts, row_counts, col_counts, st.sampled_from([16, 32]), seeds)
def test_one_shot_all_reduce(ranks: int, rows: int, cols: int, bits: int, seed: int) -> None:
    x, out = tensors(rows, cols, bits)
    xs, outs, total = partial_sums(seed, ranks, rows, cols)
    counts = run_all_ranks(
        lambda rank: all_reduce_one_shot("sum", CHIP, x, out, rank=rank, ranks=ranks), {"x": xs, "out": outs}, ranks
    )
    for result, count in zip(outs, counts, strict=True):
        np.testing.assert_allclose(result, total, rtol=1e-10, atol=1e-10)
        assert set(count) == {"out"}
        assert (count["out"] == 1).all()


@settings(deadline=None)
@given(rank_counts, row_counts, st.integers(0, 5), st.integers(1, 64), st.booleans(), seeds)
def test_two_phase_all_reduce(ranks: int, rows: int, extra: int, edge: int, in_place: bool, seed: int) -> None:
    cols = 64 * (ranks - 1 + extra) + edge
    x, out = tensors(rows, cols)
    out = x if in_place else out
    xs, outs, total = partial_sums(seed, ranks, rows, cols)

    def build(rank: int) -> tuple[TileProgram, ...]:
        scatter = reduce_scatter("scatter", CHIP, x, out, rank=rank, ranks=ranks)
        return scatter + all_gather("gather", CHIP, out, rank=rank, ranks=ranks)

    counts = run_all_ranks(build, {"x": xs, "out": outs}, ranks)
    for result, count in zip(xs if in_place else outs, counts, strict=True):
        np.testing.assert_allclose(result, total, rtol=1e-10, atol=1e-10)
        assert set(count) == {out.name}
        assert (count[out.name] == 1).all()


@settings(deadline=None)
@given(st.integers(1, 16), st.integers(1, 3000), st.sampled_from([16, 32]))
def test_chunks_are_whole_granule_columns_balanced_to_within_one(ranks: int, cols: int, bits: int) -> None:
    x, _ = tensors(3, cols, bits)
    chunks = [chunk_columns(x, rank, ranks) for rank in range(ranks)]
    assert chunks[0][0] == 0
    assert chunks[-1][1] == cols
    assert all(end == first for (_, end), (first, _) in pairwise(chunks))
    sizes = [-(-(end - first) // x.granule_cols) for first, end in chunks]
    assert max(sizes) - min(sizes) <= 1
    assert all(first % x.granule_cols == 0 for first, end in chunks if first < end)


@settings(deadline=None)
@given(rank_counts, st.integers(0, 5), st.integers(0, 20))
def test_a_remote_read_stands_for_a_peers_read_of_its_own_chunk_here(ranks: int, rank: int, extra: int) -> None:
    """The symmetry that lets one chip stand for all of a group."""
    rank %= ranks
    x, out = tensors(64, 64 * (ranks + extra))
    (program,) = reduce_scatter("scatter", CHIP, x, out, rank=rank, ranks=ranks)
    own = chunk_columns(x, rank, ranks)[0] // 64
    for name, tensor in zip(program.tensor_names, program.tensors, strict=True):
        if tensor["residence"] == Residence.REMOTE:
            peer = int(name.partition("@")[2])
            read_here = tensor["first_granule"] + own - x.first_granule
            assert read_here == chunk_columns(x, peer, ranks)[0] // 64


@pytest.mark.parametrize("ranks", [2, 4, 8])
@pytest.mark.parametrize("rows", [1, 16, 2048])
def test_the_faster_algorithm_is_chosen(ranks: int, rows: int) -> None:
    x, out = tensors(rows, 8192)
    one_shot = one_shot_seconds(CHIP, x.size_bytes, ranks) <= two_phase_seconds(CHIP, x.size_bytes, ranks)
    programs = all_reduce("sum", CHIP, x, out, rank=0, ranks=ranks)
    assert [program.kind for program in programs] == (["all_reduce"] if one_shot else ["all_reduce", "all_gather"])


def test_the_crossover_lies_where_a_second_trip_costs_as_much_as_the_bytes_it_saves() -> None:
    """(ranks - 1) (1 - 2 / ranks) bytes / bandwidth = latency."""
    ranks = 4
    for chip in (CHIP, load_chip("a100")):
        crossover = chip.link.latency_seconds * payload_bytes_per_second(chip) / ((ranks - 1) * (1 - 2 / ranks))
        below, above = int(0.99 * crossover), int(1.01 * crossover)
        assert one_shot_seconds(chip, below, ranks) < two_phase_seconds(chip, below, ranks)
        assert one_shot_seconds(chip, above, ranks) > two_phase_seconds(chip, above, ranks)


def test_packet_headers_take_their_share_of_the_link() -> None:
    chip = load_chip("h100", ["link.payload_bytes=192", "link.header_bytes=64"])
    assert payload_bytes_per_second(chip) == pytest.approx(0.75 * chip.link.bandwidth_bytes_per_second)


def test_a_single_rank_has_nothing_to_do() -> None:
    x, out = tensors(3, 100)
    assert all_reduce("sum", CHIP, x, out, rank=0, ranks=1) == ()
    assert all_reduce_one_shot("sum", CHIP, x, out, rank=0, ranks=1) == ()
    assert reduce_scatter("sum", CHIP, x, out, rank=0, ranks=1) == ()
    assert all_gather("sum", CHIP, x, rank=0, ranks=1) == ()


def test_fewer_granule_columns_than_ranks_are_reduced_in_one_shot() -> None:
    x, out = tensors(100_000, 128)
    (program,) = all_reduce("sum", CHIP, x, out, rank=0, ranks=4)
    assert program.kind == "all_reduce"
    with pytest.raises(InputError, match="4 ranks need one each"):
        reduce_scatter("sum", CHIP, x, out, rank=0, ranks=4)


def test_one_shot_does_not_overwrite_what_peers_still_read() -> None:
    x, _ = tensors(2, 64)
    with pytest.raises(ValueError, match="peers still read x"):
        all_reduce_one_shot("sum", CHIP, x, x, rank=0, ranks=2)


@settings(deadline=None)
@given(rank_counts, row_counts, st.integers(0, 5), st.integers(1, 64), seeds)
def test_ring_all_reduce(ranks: int, rows: int, extra: int, edge: int, seed: int) -> None:
    """Every rank adds its part of a chunk once and passes complete chunks on: each element of out is written once, except
    those of the chunks that a rank added to on their way, which come back complete."""
    x, out = tensors(rows, 64 * (ranks - 1 + extra) + edge)
    xs, outs, total = partial_sums(seed, ranks, rows, x.cols)
    before = [matrix.copy() for matrix in xs]
    counts = run_all_ranks(
        lambda rank: ring_all_reduce("sum", CHIP, x, out, rank=rank, ranks=ranks), {"x": xs, "out": outs}, ranks
    )
    for rank in range(ranks):
        np.testing.assert_allclose(outs[rank], total, rtol=1e-10, atol=1e-10)
        np.testing.assert_array_equal(xs[rank], before[rank])
        assert set(counts[rank]) == {"out"}
        first, end = chunk_columns(x, (rank + 1) % ranks, ranks)
        assert (counts[rank]["out"][:, first:end] == 1).all()


@given(st.integers(2, 8), st.integers(0, 7))
def test_hops_of_a_ring_read_here_what_the_right_neighbour_reads(ranks: int, rank: int) -> None:
    rank %= ranks
    x, out = tensors(64, 64 * (ranks + 3))
    right = ring_all_reduce("sum", CHIP, x, out, rank=(rank + 1) % ranks, ranks=ranks)
    for here, there in zip(ring_all_reduce("sum", CHIP, x, out, rank=rank, ranks=ranks), right, strict=True):
        remote = int(np.flatnonzero(here.tensors["residence"] == Residence.REMOTE)[0])
        own = x if here.tensor_names[remote].startswith("x@") else out
        shift = (here.tensors[remote]["first_granule"] - own.first_granule) * own.granule_cols
        here_first, there_first = (
            program.operands["col"][program.operands["tensor"] == remote].min() for program in (here, there)
        )
        assert here_first + shift == there_first


def test_a_ring_needs_room_for_its_result() -> None:
    x, _ = tensors(2, 640)
    with pytest.raises(ValueError, match="still needed"):
        ring_all_reduce("sum", CHIP, x, x, rank=0, ranks=2)


@pytest.mark.parametrize("library", library_names())
def test_libraries_choose_the_fastest_by_their_closed_forms(library: str) -> None:
    for rows in (1, 64, 4096):
        x, out = tensors(rows, 8192)
        found = list(choices(load_library(library), CHIP, x.size_bytes, 4))
        best = min(found, key=lambda choice: choice.seconds)
        programs = all_reduce("sum", CHIP, x, out, rank=1, ranks=4, library=library)
        assert len(programs) == {"one_shot": 1, "two_phase": 2, "in_switch": 2, "ring": 6}[best.algorithm]
        assert {program.link for program in programs} == {best.link}
        assert [program.launch_seconds for program in programs][1:] == [None if best.start_seconds is None else 0.0] * (
            len(programs) - 1
        )


def test_protocols_of_nccl_take_over_from_each_other() -> None:
    """Low latency for short messages, high efficiency for long ones."""
    nccl = load_library("nccl")
    chosen = [
        min(choices(nccl, CHIP, size, 8), key=lambda choice: choice.seconds).protocol for size in (1 << 10, 1 << 32)
    ]
    assert chosen == ["ll", "simple"]


def test_the_rings_closed_form_by_hand() -> None:
    """Four ranks, Simple: 6 hops of a latency and a quarter of the bytes, on a link that is used 6 parts of 7."""
    simple = next(choice for choice in choices(load_library("nccl"), CHIP, 4_000_000, 4) if choice.protocol == "simple")
    hop = CHIP.link.latency_seconds + 1_000_000 * (144 / 128) * (7 / 6) / CHIP.link.bandwidth_bytes_per_second
    assert simple.seconds == pytest.approx(2.0e-5 + 6 * hop)


def test_an_unknown_library_is_refused() -> None:
    x, out = tensors(2, 640)
    with pytest.raises(InputError, match="did you mean 'nccl'"):
        all_reduce("sum", CHIP, x, out, rank=0, ranks=2, library="nccll")


@settings(deadline=None, max_examples=10)
@given(rows=row_counts, cols=col_counts)
def test_a_transfer_copies_every_element_of_the_peer_once(rows: int, cols: int) -> None:
    x, _ = tensors(rows, cols)
    (program,) = point_to_point("transfer", CHIP, x)
    mine, peers = np.zeros((rows, cols)), np.arange(float(rows * cols)).reshape(rows, cols)
    counts = replay(program, {"x": mine, "x@0": peers})
    assert np.array_equal(mine, peers)
    assert np.all(counts["x"] == 1)
