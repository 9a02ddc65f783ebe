"""Collectives of a tensor-parallel group over an all-to-all switch, as one of its ranks executes them.

All ranks run the same program on their own part: a rank *pulls* what it needs from its peers, beginning with its right
neighbour so that no chip is asked by all at a time. An all-reduce is *one-shot* (every rank pulls all partial results and
adds them: one trip over the link), *two-phase* (reduce-scatter, then all-gather: two trips, but each rank adds only its
chunk), goes round a *ring* (:mod:`kernels.collectives.ring`), or is done *in the switch* (two phases, of which the link
carries less).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from kernels.collectives.chunks import add_resources, check_chunks, chunk_columns, collective_writer, granule_columns
from kernels.collectives.libraries import choices, load_library
from kernels.collectives.ring import ring_all_reduce
from kernels.program.address_space import Tensor
from kernels.program.tile_program import Slot, TileProgram
from kernels.vector.cutting import Tiles, check_same_shape, cut_granules
from uarch.chip.schema import Chip
from uarch.program.records import Function

_SUM = Slot(0)


def all_reduce(
    name: str,
    chip: Chip,
    x: Tensor,
    out: Tensor,
    *,
    rank: int,
    ranks: int,
    dtype: str = "fp16",
    library: str = "direct",
) -> tuple[TileProgram, ...]:
    """``out`` = the sum of all ranks' ``x``: programs to run one after the other; ``out`` must not be ``x``.

    Of the algorithms and protocols of ``library`` (:mod:`kernels.collectives.libraries`) the one with the shortest closed
    form. A single rank has no programs: its ``x`` is the result.

    Raises:
        InputError: unknown library.
    """
    if ranks == 1:
        return ()
    choice = min(choices(load_library(library), chip, x.size_bytes, ranks), key=lambda each: each.seconds)
    if granule_columns(x) < ranks:
        choice = replace(choice, algorithm="one_shot")
    if choice.algorithm == "one_shot":
        programs = all_reduce_one_shot(name, chip, x, out, rank=rank, ranks=ranks, dtype=dtype)
    elif choice.algorithm == "ring":
        programs = ring_all_reduce(name, chip, x, out, rank=rank, ranks=ranks, dtype=dtype)
    else:
        scatter = reduce_scatter(f"{name}.reduce_scatter", chip, x, out, rank=rank, ranks=ranks, dtype=dtype)
        programs = scatter + all_gather(f"{name}.all_gather", chip, out, rank=rank, ranks=ranks, dtype=dtype)
    if choice.start_seconds is None:
        return programs
    starts = (choice.start_seconds, *[0.0] * (len(programs) - 1))
    return tuple(
        replace(program, link=choice.link, launch_seconds=start)
        for program, start in zip(programs, starts, strict=True)
    )


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
    writer = collective_writer("all_gather", name, x, ranks, dtype)
    for peer in _peers(rank, ranks):
        first, end = chunk_columns(x, peer, ranks)
        tiles = cut_granules(chip, x, bits_per_element=x.element_bits, first_col=first, end_col=end)
        grid = writer.grid(len(tiles.row), 1)
        source = tiles.box(x.at_peer(peer, own[0] - first))
        grid.vector(0, Function.IDENTITY, source, _SUM, m=tiles.n_rows, n=tiles.n_cols, store=tiles.box(x))
        add_resources(grid, chip, x, tiles, 1)
    return (writer.finish(0),)


def point_to_point(name: str, chip: Chip, x: Tensor, *, dtype: str = "fp16") -> tuple[TileProgram, ...]:
    """Copy the ``x`` of a peer, the chip of the same rank one pipeline stage before, into this chip's."""
    writer = collective_writer("point_to_point", name, x, 2, dtype)
    tiles = cut_granules(chip, x, bits_per_element=x.element_bits)
    grid = writer.grid(len(tiles.row), 1)
    grid.vector(
        0, Function.IDENTITY, tiles.box(x.at_peer(0, 0)), _SUM, m=tiles.n_rows, n=tiles.n_cols, store=tiles.box(x)
    )
    add_resources(grid, chip, x, tiles, 1)
    return (writer.finish(0),)


def _sum(
    name: str, chip: Chip, x: Tensor, out: Tensor, tiles: Tiles, shifts: dict[int, int], dtype: str
) -> TileProgram:
    """Add blocks that each sum a tile of all peers' ``x`` and of the local one in fp32, and store it to ``out``."""
    writer = collective_writer("all_reduce", name, x, len(shifts) + 1, dtype)
    grid = writer.grid(len(tiles.row), len(shifts) + 1)
    sources = [x.at_peer(peer, shift) for peer, shift in shifts.items()] + [x]
    for j, source in enumerate(sources):
        store = tiles.box(out) if source is x else None
        grid.vector(j, Function.ADD, tiles.box(source), _SUM, b=_SUM, m=tiles.n_rows, n=tiles.n_cols, store=store)
    add_resources(grid, chip, x, tiles, len(shifts) + 1)
    return writer.finish(0)


def _own_chunk(name: str, x: Tensor, rank: int, ranks: int) -> tuple[int, int]:
    check_chunks(name, x, ranks)
    return chunk_columns(x, rank, ranks)


def _peers(rank: int, ranks: int) -> Iterable[int]:
    """Other ranks, from the right neighbour on."""
    return ((rank + np.arange(1, ranks)) % ranks).tolist()
