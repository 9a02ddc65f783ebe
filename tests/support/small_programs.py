"""Small kernels and chips for tests of the engine."""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st

from kernels.attention.attention import Attention, FlashMapping
from kernels.attention.streamed import flash_attention
from kernels.attention.tensors import allocate_attention
from kernels.gemm.gemm import GemmMapping, GemmShape, Operand, Output, gemm
from kernels.program.address_space import AddressSpace
from kernels.program.tile_program import TileProgram
from uarch.chip.schema import Chip
from uarch.chip_file import load_chip

SMALL_CORES = 4


@cache
def small_chip(name: str = "h100", *overrides: str) -> Chip:
    """A preset with a few cores only, and L2 and memory in proportion: three channel groups."""
    small = (
        f"core.count={SMALL_CORES}",
        "l2.slices=32",
        "l2.bytes=1048576",
        "memory.packages=1",
        "memory.channels=48",
        "memory.bandwidth_bytes_per_second=200e9",
    )
    return load_chip(name, [*small, *overrides])


def gemm_program(m: int, n: int, k: int, mapping: GemmMapping) -> TileProgram:
    """C = A B in an address space of its own."""
    space = AddressSpace()
    a, b, c = space.allocate("a", m, k, 16), space.allocate("b", k, n, 16), space.allocate("c", m, n, 16)
    return gemm("gemm", GemmShape(m, n, k), Operand(a), Operand(b), [Output(Operand(c), 0, n)], mapping, space)


def flash_program(attention: Attention, mapping: FlashMapping) -> TileProgram:
    """Streamed attention in an address space of its own."""
    space = AddressSpace()
    return flash_attention("flash", attention, allocate_attention(attention, space), mapping, space)


def programs(largest: int) -> st.SearchStrategy[TileProgram]:
    """GEMMs with sizes up to ``largest``, split or not, and attention of both phases."""
    sizes = st.integers(1, largest)
    tiles = st.sampled_from([16, 32, 64])
    mappings = st.builds(GemmMapping, tiles, tiles, tiles, st.integers(1, 4), st.just(1), st.integers(1, 3))
    split = st.builds(
        lambda m, n, splits: gemm_program(m, n, 32 * splits + 9, GemmMapping(32, 32, 16, 2, splits)),
        sizes,
        sizes,
        st.integers(2, 4),
    )
    prefill = st.builds(
        lambda q_len, past, tile, heads: flash_program(
            Attention(1, heads, 1, 16, q_len, q_len + past), FlashMapping(tile, tile, 2)
        ),
        st.integers(1, largest // 2),
        st.integers(0, largest // 2),
        st.sampled_from([16, 32]),
        st.integers(1, 3),
    )
    decode = st.builds(
        lambda batch, kv_len, splits: flash_program(
            Attention(batch, 4, 2, 16, 1, 64 + kv_len), FlashMapping(1, 16, 4, pack=2, splits=splits)
        ),
        st.integers(1, 3),
        st.integers(1, largest),
        st.integers(1, 4),
    )
    return st.one_of(st.builds(gemm_program, sizes, sizes, sizes, mappings), split, prefill, decode)


def chips() -> st.SearchStrategy[Chip]:
    """Small chips of every preset, with some of their parts changed."""
    changes = st.lists(
        st.sampled_from(
            [
                "core.count=1",
                "core.count=7",
                "core.lanes=1",
                "core.max_resident_blocks=1",
                "core.systolic.rows=8",
                "core.systolic.cols=5",
                "core.systolic.dataflow=os",
                "core.systolic.dataflow=is",
                "core.vector.width=1",
                "core.l1.banks=2",
                "core.l1.latency_cycles=0",
                "core.block_launch_seconds=0",
                "l2.bytes=65536",
                "l2.slices=3",
                "l2.latency_seconds=0",
                "noc.read_bytes_per_cycle_per_core=3.3",
                "noc.multicast_cores=1",
                "memory.channels=5",
                "memory.bandwidth_bytes_per_second=7e9",
            ]
        ),
        max_size=4,
    )
    presets = st.sampled_from(["a100", "h100", "spad-h100", "spad-prefill", "spad-decode"])
    memories = st.sampled_from([(), ("memory.technology=hbm2e", "memory.standard=hbm2e-3200")])
    return st.builds(lambda name, overrides, memory: small_chip(name, *overrides, *memory), presets, changes, memories)
