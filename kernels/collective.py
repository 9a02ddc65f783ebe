"""Collectives of a tensor-parallel group over an all-to-all switch, as one of its ranks executes them.

All ranks run the same program on their own part: a rank *pulls* what it needs from its peers, beginning with its right
neighbour so that no chip is asked by all at a time. Rank p's chunk of a matrix are whole granule columns, balanced to
within one. An all-reduce is either *one-shot* (every rank pulls all partial results and adds them: one trip over the
link) or *two-phase* (reduce-scatter, then all-gather: two trips, but each rank adds only its chunk).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from kernels.address_space import Tensor
from kernels.datatypes import ACCUMULATOR_BYTES
from kernels.program import Grid, ProgramWriter, Slot, TileProgram
from kernels.rows import Tiles, check_same_shape, cut_granules
from uarch.chip import Chip
from uarch.contexts import MAX_STAGES
from uarch.errors import InputError
from uarch.program import Function

_SUM = Slot(0)


def all_reduce(
    name: str, chip: Chip, x: Tensor, out: Tensor, *, rank: int, ranks: int, dtype: str = "fp16"
) -> tuple[TileProgram, ...]:
    """``out`` = the sum of all ranks' ``x``: programs to run one after the other; ``out`` must not be ``x``.

    Of the two algorithms the faster by :func:`one_shot_seconds` and :func:`two_phase_seconds`. A single rank has no
    programs: its ``x`` is the result.
    """
    if ranks == 1:
        return ()
    if _granule_columns(x) < ranks or one_shot_seconds(chip, x.size_bytes, ranks) <= two_phase_seconds(
        chip, x.size_bytes, ranks
    ):
        return all_reduce_one_shot(name, chip, x, out, rank=rank, ranks=ranks, dtype=dtype)
    scatter = reduce_scatter(f"{name}.reduce_scatter", chip, x, out, rank=rank, ranks=ranks, dtype=dtype)
    gather = all_gather(f"{name}.all_gather", chip, out, rank=rank, ranks=ranks, dtype=dtype)
    return scatter + gather


def one_shot_seconds(chip: Chip, size_bytes: int, ranks: int) -> float:
    """Latency-bandwidth model of one trip with all other ranks' bytes; launches, which the stack knows, left out."""
    return chip.link.latency_seconds + (ranks - 1) * size_bytes / payload_bytes_per_second(chip)


def two_phase_seconds(chip: Chip, size_bytes: int, ranks: int) -> float:
    """The same of two trips with ``(ranks - 1) / ranks`` of the bytes each."""
    return 2 * (chip.link.latency_seconds + (ranks - 1) * size_bytes / ranks / payload_bytes_per_second(chip))


def payload_bytes_per_second(chip: Chip) -> float:
    """What the link carries in one direction besides packet headers."""
    link = chip.link
    return link.bandwidth_bytes_per_second * link.payload_bytes / (link.payload_bytes + link.header_bytes)


def chunk_columns(x: Tensor, rank: int, ranks: int) -> tuple[int, int]:
    """First column of a rank's chunk, and the one after its last."""
    columns = _granule_columns(x)
    first, end = (p * columns // ranks * x.granule_cols for p in (rank, rank + 1))
    return first, min(end, x.cols)


def reduce_scatter(
    name: str, chip: Chip, x: Tensor, out: Tensor, *, rank: int, ranks: int, dtype: str = "fp16"
) -> tuple[TileProgram, ...]:
    """This rank's chunk of ``out`` (which may be ``x``) = the sum of that chunk of all ranks' ``x``.

    Raises:
        InputError: fewer granule columns than ranks.
    """
    check_same_shape(name, x, out)
    if ranks == 1:
        return ()
    own = _own_chunk(name, x, rank, ranks)
    tiles = cut_granules(chip, x, bits_per_element=x.element_bits, first_col=own[0], end_col=own[1])
    shifts = {peer: chunk_columns(x, peer, ranks)[0] - own[0] for peer in _peers(rank, ranks)}
    return (_sum(name, chip, x, out, tiles, shifts, dtype),)


def all_reduce_one_shot(
    name: str, chip: Chip, x: Tensor, out: Tensor, *, rank: int, ranks: int, dtype: str = "fp16"
) -> tuple[TileProgram, ...]:
    """``out`` = the sum of all ranks' ``x``, pulled in one trip; ``out`` must not be ``x``, which peers still read."""
    check_same_shape(name, x, out)
    if out.base_address == x.base_address:
        raise ValueError(f"{name}: {out.name} lies where peers still read {x.name}")
    if ranks == 1:
        return ()
    tiles = cut_granules(chip, x, bits_per_element=x.element_bits)
    return (_sum(name, chip, x, out, tiles, dict.fromkeys(_peers(rank, ranks), 0), dtype),)


def all_gather(
    name: str, chip: Chip, x: Tensor, *, rank: int, ranks: int, dtype: str = "fp16"
) -> tuple[TileProgram, ...]:
    """Copy the other ranks' chunks of their ``x`` into this rank's.

    Raises:
        InputError: fewer granule columns than ranks.
    """
    if ranks == 1:
        return ()
    own = _own_chunk(name, x, rank, ranks)
    writer = _writer("all_gather", name, x, ranks, dtype)
    for peer in _peers(rank, ranks):
        first, end = chunk_columns(x, peer, ranks)
        tiles = cut_granules(chip, x, bits_per_element=x.element_bits, first_col=first, end_col=end)
        grid = writer.grid(len(tiles.row), 1)
        source = tiles.box(x.at_peer(peer, own[0] - first))
        grid.vector(0, Function.IDENTITY, source, _SUM, m=tiles.n_rows, n=tiles.n_cols, store=tiles.box(x))
        _resources(grid, chip, x, tiles, 1)
    return (writer.finish(0),)


def point_to_point(name: str, chip: Chip, x: Tensor, *, dtype: str = "fp16") -> tuple[TileProgram, ...]:
    """Copy the ``x`` of a peer, the chip of the same rank one pipeline stage before, into this chip's."""
    writer = ProgramWriter(name, "point_to_point", f"{x.batch * x.rows} x {x.cols}", dtype)
    tiles = cut_granules(chip, x, bits_per_element=x.element_bits)
    grid = writer.grid(len(tiles.row), 1)
    grid.vector(
        0, Function.IDENTITY, tiles.box(x.at_peer(0, 0)), _SUM, m=tiles.n_rows, n=tiles.n_cols, store=tiles.box(x)
    )
    _resources(grid, chip, x, tiles, 1)
    return (writer.finish(0),)


def _sum(
    name: str, chip: Chip, x: Tensor, out: Tensor, tiles: Tiles, shifts: dict[int, int], dtype: str
) -> TileProgram:
    """Blocks that each add a tile of all peers' ``x`` and of the local one in fp32, and store it to ``out``."""
    writer = _writer("all_reduce", name, x, len(shifts) + 1, dtype)
    grid = writer.grid(len(tiles.row), len(shifts) + 1)
    sources = [x.at_peer(peer, shift) for peer, shift in shifts.items()] + [x]
    for j, source in enumerate(sources):
        store = tiles.box(out) if source is x else None
        grid.vector(j, Function.ADD, tiles.box(source), _SUM, b=_SUM, m=tiles.n_rows, n=tiles.n_cols, store=store)
    _resources(grid, chip, x, tiles, len(shifts) + 1)
    return writer.finish(0)


def _resources(grid: Grid, chip: Chip, x: Tensor, tiles: Tiles, steps: int) -> None:
    """All peers' tiles are asked for at the same time, as far as L1 holds them."""
    tile_bytes = -(-tiles.largest * x.element_bits // 8)
    stages = max(1, min(steps, MAX_STAGES, chip.core.l1.bytes // tile_bytes))
    grid.resources(stages=stages, l1_bytes=stages * tile_bytes, register_bytes=tiles.largest * ACCUMULATOR_BYTES)


def _writer(kind: str, name: str, x: Tensor, ranks: int, dtype: str) -> ProgramWriter:
    return ProgramWriter(name, kind, f"{x.batch * x.rows} x {x.cols} over {ranks}", dtype)


def _own_chunk(name: str, x: Tensor, rank: int, ranks: int) -> tuple[int, int]:
    if _granule_columns(x) < ranks:
        raise InputError(
            f"{name}: {x.cols} columns of {x.name} make {_granule_columns(x)} chunks of {x.granule_cols} columns; "
            f"{ranks} ranks need one each"
        )
    return chunk_columns(x, rank, ranks)


def _peers(rank: int, ranks: int) -> Iterable[int]:
    """The other ranks, from the right neighbour on."""
    return ((rank + np.arange(1, ranks)) % ranks).tolist()


def _granule_columns(x: Tensor) -> int:
    return -(-x.cols // x.granule_cols)
