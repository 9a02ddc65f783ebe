"""The mapper: what it proposes can run, what it chooses is the best it has tried, and how far that is from the optimum."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.attention.attention import Attention, FlashMapping
from kernels.gemm.gemm import GemmMapping, GemmShape, Operand, Output, gemm
from kernels.mapping import tile_menu
from kernels.mapping.mapper import _SEARCHES, Mapper, Search, rank_attention, rank_gemm
from kernels.program.address_space import AddressSpace
from kernels.program.tile_program import TileProgram
from tests.support.empty_cache import keep_in
from tests.support.small_programs import flash_program, gemm_program, small_chip
from uarch.chip.schema import Chip
from uarch.engine.execute import execute, resident_blocks
from uarch.engine.machine import lower
from uarch.engine.resident_blocks import MAX_STAGES
from uarch.errors import InputError

WITHOUT_JIT = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0"
CHIPS = ("a100", "h100", "spad-prefill", "spad-decode")
SHAPES = [
    GemmShape(1, 2048, 2048),
    GemmShape(64, 2048, 2048),
    GemmShape(512, 512, 512),
    GemmShape(1000, 700, 300),
    GemmShape(33, 4096, 256),
    GemmShape(256, 256, 4096),
]
SEARCHING = small_chip("h100", "mapping=search")
"""A chip that is free of a library's menu."""
needs_jit = pytest.mark.compiled("too large for the interpreter")

sizes = st.one_of(st.integers(1, 40), st.integers(41, 3000))
chip_names = st.sampled_from(CHIPS)
l1_sizes = st.sampled_from(["core.l1.bytes=16384", "core.l1.bytes=40000", "core.l1.bytes=262144"])


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> Iterator[Path]:
    """An empty store of mappings: the folder of its files, and nothing in memory."""
    with pytest.MonkeyPatch.context() as patch:
        keep_in(tmp_path, patch, *_SEARCHES.values())
        yield tmp_path / "gemm-mappings"


def forget() -> None:
    """Leave searches on disk alone."""
    for each in _SEARCHES.values():
        each.known.clear()


def build_gemm(shape: GemmShape) -> Callable[[GemmMapping], TileProgram]:
    return lambda mapping: gemm_program(shape.m, shape.n, shape.k, mapping)


def fits(chip_name: str, l1: str, program: TileProgram) -> None:
    """The engine accepts the program: its blocks fit into L1 and registers, its stages into the ring."""
    chip = small_chip(chip_name, l1)
    assert resident_blocks(lower(chip, "fp16"), program, chip.name) >= 1
    assert program.blocks["stages"].max() <= MAX_STAGES


@given(sizes, sizes, sizes, chip_names, l1_sizes)
def test_every_proposed_gemm_mapping_fits(m: int, n: int, k: int, chip_name: str, l1: str) -> None:
    """The largest ones of each kind are built; their blocks that add partial sums must fit, too."""
    shape = GemmShape(m, n, k)
    ranked = rank_gemm(small_chip(chip_name, l1), shape)
    assert len({estimate.mapping for estimate in ranked}) == len(ranked)
    assert all(estimate.seconds > 0 for estimate in ranked)
    for split in (False, True):
        of_kind = [estimate.mapping for estimate in ranked if (estimate.mapping.split_k > 1) == split]
        for mapping in sorted(of_kind, key=lambda mapping: mapping.tile_n * min(mapping.tile_m, 32))[-2:]:
            fits(chip_name, l1, gemm_program(m, n, k, mapping))


@given(
    st.integers(1, 3),
    st.sampled_from([(1, 1), (8, 8), (8, 2), (16, 1)]),
    st.integers(1, 300),
    sizes,
    chip_names,
    l1_sizes,
)
def test_every_proposed_attention_mapping_fits(
    batch: int, heads: tuple[int, int], q_len: int, past: int, chip_name: str, l1: str
) -> None:
    shape = Attention(batch, *heads, 64, q_len, q_len + past)
    try:
        ranked = rank_attention(small_chip(chip_name, l1), shape)
    except InputError:
        assert l1 == "core.l1.bytes=16384"  # two stages of 32 keys and one query tile need more
        return
    for estimate in ranked[:2] + ranked[-2:]:
        fits(chip_name, l1, flash_program(shape, estimate.mapping))


@pytest.mark.parametrize("pack", [3, 8])
@pytest.mark.parametrize("packed_columns", [False, True])
def test_packed_rows_stay_whole(pack: int, packed_columns: bool) -> None:
    shape = GemmShape(pack * 5, 64, 128, batch=4)
    for estimate in rank_gemm(small_chip(), shape, pack=pack, packed_columns=packed_columns):
        mapping = estimate.mapping
        assert mapping.tile_m % pack == 0
        assert mapping.tile_n >= shape.n if packed_columns else mapping.tile_k >= shape.k
        assert mapping.split_k == 1


def test_nothing_fits() -> None:
    tiny = small_chip("h100", "core.l1.bytes=1024")
    with pytest.raises(InputError, match="gemm 64 x 64 x 64: no tile fits into 1024 bytes of L1 of h100"):
        rank_gemm(tiny, GemmShape(64, 64, 64))
    with pytest.raises(InputError, match="no tile fits into 1024 bytes of L1 of h100"):
        rank_attention(tiny, Attention(1, 1, 1, 64, 64, 64))


@needs_jit
@pytest.mark.parametrize("chip_name", CHIPS)
def test_against_all_candidates_on_the_engine(chip_name: str) -> None:
    """The choice is on average within 1 % of the best candidate, and within 5 % in each case.

    The closed form is at most 35 % above the engine's time for any candidate: a lower bound but for how it counts ragged
    tiles and waves, which is why the search goes on where estimates are above the best time found.
    """
    chip = small_chip(chip_name)
    losses = []
    for shape in SHAPES:
        build = build_gemm(shape)
        chosen = Mapper(chip).gemm(shape, build)
        ranked = rank_gemm(chip, shape)
        seconds = {estimate.mapping: execute(chip, build(estimate.mapping))[0].seconds for estimate in ranked}
        losses.append(seconds[chosen] / min(seconds.values()))
        assert losses[-1] <= 1.05, shape
        for estimate in ranked:
            assert estimate.seconds <= 1.35 * seconds[estimate.mapping], (shape, estimate)
    assert np.mean(losses) <= 1.01


CLOSED_FORM_TOO_SLOW = pytest.mark.xfail(strict=True, reason="24 % above the engine for 512 cubed: see README, Limits")


@needs_jit
@pytest.mark.parametrize(
    "chip_name", [pytest.param(name, marks=CLOSED_FORM_TOO_SLOW if name == "spad-prefill" else ()) for name in CHIPS]
)
def test_the_closed_form_of_the_choice_is_at_most_10_percent_too_slow(chip_name: str) -> None:
    chip = small_chip(chip_name)
    for shape in SHAPES:
        build = build_gemm(shape)
        chosen = Mapper(chip).gemm(shape, build)
        estimate = next(estimate for estimate in rank_gemm(chip, shape) if estimate.mapping == chosen)
        assert estimate.seconds <= 1.1 * execute(chip, build(chosen))[0].seconds, (shape, estimate)


def test_the_choice_is_the_best_of_those_tried() -> None:
    chip, shape = SEARCHING, GemmShape(48, 40, 64) if WITHOUT_JIT else GemmShape(500, 300, 400)
    tried: dict[GemmMapping, float] = {}
    build = build_gemm(shape)
    ranked = rank_gemm(chip, shape)
    first_time = execute(chip, build(ranked[0].mapping))[0].seconds

    def recorded(mapping: GemmMapping) -> TileProgram:
        tried[mapping] = execute(chip, build(mapping))[0].seconds
        return build(mapping)

    search = Mapper(chip, trials=6).search_gemm(shape, recorded)
    assert search.candidates == len(ranked)
    assert 1 <= search.trials == len(tried) <= 6
    assert tried[search.mapping] == min(tried.values()) <= first_time
    assert Mapper(chip, on_engine=False).gemm(shape, build) == ranked[0].mapping


def test_decode_attention_is_packed_and_split_over_cores() -> None:
    """One sequence and one group of 8 heads would be a single block."""
    chip = small_chip()
    shape = Attention(1, 8, 1, 64, 1, 4096)
    best = rank_attention(chip, shape)[0].mapping
    assert (best.pack, best.tile_q) == (8, 1)
    assert best.splits > 1
    prefill = rank_attention(chip, replace(shape, q_len=512, kv_len=512))[0].mapping
    assert (prefill.pack, prefill.splits) == (1, 1)


def searched(offset_rows: int, counted: list[GemmMapping]) -> GemmMapping:
    """Mapping of a GEMM whose operands lie behind ``offset_rows`` rows of something else."""
    shape = GemmShape(40, 48, 64)

    def build(mapping: GemmMapping) -> TileProgram:
        counted.append(mapping)
        space = AddressSpace()
        if offset_rows:
            space.allocate("before", offset_rows, 64, 16)
        a, b, c = space.allocate("a", 40, 64, 16), space.allocate("b", 64, 48, 16), space.allocate("c", 40, 48, 16)
        return gemm("g", shape, Operand(a), Operand(b), [Output(Operand(c), 0, 48)], mapping, space)

    return Mapper(SEARCHING).gemm(shape, build)


def test_a_search_is_remembered_wherever_the_operands_lie() -> None:
    """What is found must not depend on what lies in memory beside the operands, nor on what was searched for before."""
    first: list[GemmMapping] = []
    again: list[GemmMapping] = []
    elsewhere: list[GemmMapping] = []
    chosen = searched(0, first)
    forget()
    assert searched(0, again) == chosen
    assert searched(640, elsewhere) == chosen
    assert len(first) >= 2
    assert len(again) == len(elsewhere) == 1  # to know the kernel


def test_the_search_itself_does_not_see_where_the_operands_lie(store: Path) -> None:
    chosen = searched(0, [])
    for path in store.iterdir():
        path.unlink()
    forget()
    builds: list[GemmMapping] = []
    assert searched(640, builds) == chosen
    assert len(builds) >= 2


def test_a_damaged_file_is_searched_for_anew(store: Path) -> None:
    chosen = searched(0, [])
    (path,) = store.iterdir()
    good = path.read_bytes()
    path.write_bytes(good.replace(b'"tile_m":', b'"tile_m":1'))
    forget()
    builds: list[GemmMapping] = []
    assert searched(0, builds) == chosen
    assert len(builds) >= 2
    assert path.read_bytes() == good


def test_the_key_tells_kernels_trials_and_candidates_apart(store: Path, tmp_path: Path) -> None:
    menu = tmp_path / "menu.toml"
    builds: list[GemmMapping] = []

    def build(mapping: GemmMapping) -> TileProgram:
        builds.append(mapping)
        return gemm_program(256, 256, 256, mapping)

    def search(chip: Chip, trials: int = 4) -> Search[GemmMapping]:
        return Mapper(chip, trials=trials).search_gemm(GemmShape(256, 256, 256), build)

    text = (Path(tile_menu.__file__).parent / "menus" / "library.toml").read_text()
    menu.write_text(text)
    chip = small_chip("h100", f"menu={menu}")
    searches = [search(chip), search(chip, 5), search(small_chip("h100")), search(small_chip("h100", "l2.slices=16"))]
    menu.write_text(text.replace("tiles = [", "tiles = [\n  [16, 16, 64, 2],", 1))
    searches.append(search(chip))
    assert searches[-1].candidates == searches[0].candidates + 1
    assert len(list(store.iterdir())) == 5


def test_without_a_disk_a_search_is_known_to_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uarch.files.derived.cache_directory", lambda: None)
    chosen = searched(0, [])
    builds: list[GemmMapping] = []
    assert searched(0, builds) == chosen
    assert len(builds) == 1


@needs_jit
def test_flash_mapping_of_a_prefill_is_near_the_best_candidate() -> None:
    chip, shape = SEARCHING, Attention(1, 4, 2, 64, 512, 512)

    def build(mapping: FlashMapping) -> TileProgram:
        return flash_program(shape, mapping)

    chosen = Mapper(chip).attention(shape, build)
    seconds = {e.mapping: execute(chip, build(e.mapping))[0].seconds for e in rank_attention(chip, shape)}
    assert seconds[chosen] <= 1.05 * min(seconds.values())
