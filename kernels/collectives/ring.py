"""All-reduce around a ring: chunks travel from rank to rank, first to be summed, then to be passed on.

Rank r gets its left neighbour's part of a chunk in every hop: in hop j chunk ``r - 1 - j``, to which it adds its own, until
after ``ranks - 1`` hops chunk ``r + 1`` is complete there; in as many hops again the complete chunks go round. Each hop is a
program, as it begins when the one before it has ended on all ranks.
"""

from __future__ import annotations

from kernels.collectives.chunks import add_resources, check_chunks, chunk_columns, collective_writer
from kernels.program.address_space import Tensor
from kernels.program.tile_program import Slot, TileProgram
from kernels.vector.cutting import check_same_shape, cut_granules
from uarch.chip.schema import Chip
from uarch.program.records import Function

_SUM = Slot(0)


def ring_all_reduce(
    name: str, chip: Chip, x: Tensor, out: Tensor, *, rank: int, ranks: int, dtype: str = "fp16"
) -> tuple[TileProgram, ...]:
    """``out`` = the sum of all ranks' ``x``: 2 (ranks - 1) programs; ``out`` must not be ``x``.

    Raises:
        InputError: fewer granule columns than ranks.
    """
    check_same_shape(name, x, out)
    if out.base_address == x.base_address:
        raise ValueError(f"{name}: {out.name} lies where {x.name} is still needed")
    if ranks == 1:
        return ()
    check_chunks(name, x, ranks)
    hops = range(ranks - 1)
    sums = [_hop(f"{name}.reduce{j}", chip, x, out, j, rank=rank, ranks=ranks, dtype=dtype, adds=True) for j in hops]
    copies = [_hop(f"{name}.pass{j}", chip, x, out, j, rank=rank, ranks=ranks, dtype=dtype, adds=False) for j in hops]
    return (*sums, *copies)


def _hop(
    name: str, chip: Chip, x: Tensor, out: Tensor, j: int, *, rank: int, ranks: int, dtype: str, adds: bool
) -> TileProgram:
    """Hop ``j`` of either half: the chunk that the left neighbour had worked on in the hop before."""
    chunk = (rank - 1 - j if adds else rank - j) % ranks
    first, end = chunk_columns(x, chunk, ranks)
    asked_here = chunk_columns(x, (chunk + 1) % ranks, ranks)[0]  # by the right neighbour, in the same hop
    source = (x if adds and j == 0 else out).at_peer((rank - 1) % ranks, asked_here - first)
    tiles = cut_granules(chip, x, bits_per_element=x.element_bits, first_col=first, end_col=end)
    writer = collective_writer("all_reduce", name, x, ranks, dtype)
    grid = writer.grid(len(tiles.row), 2 if adds else 1)
    m, n, store = tiles.n_rows, tiles.n_cols, tiles.box(out)
    if adds:
        grid.vector(0, Function.IDENTITY, tiles.box(x), _SUM, m=m, n=n)
        grid.vector(1, Function.ADD, tiles.box(source), _SUM, b=_SUM, m=m, n=n, store=store)
    else:
        grid.vector(0, Function.IDENTITY, tiles.box(source), _SUM, m=m, n=n, store=store)
    add_resources(grid, chip, x, tiles, 2 if adds else 1)
    return writer.finish(0)
