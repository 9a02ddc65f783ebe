"""The mapper: chooses tile sizes by a closed-form model and checks the best few on the engine.

The closed form is a lower-bound-like estimate (arrays, NoC port, L2, DRAM, whichever takes longest, plus fill and tail);
candidates are tried on the engine in its order until the estimate of the next one is no better than the best time found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kernels.attention.attention import Attention, FlashMapping
from kernels.attention.unfused import UnfusedAttention
from kernels.gemm.tiles import GemmMapping, ProductShape
from kernels.gemm.weights import WeightFormat
from kernels.mapping.attention_ranking import rank_attention
from kernels.mapping.gemm_ranking import rank_gemm
from kernels.mapping.ranking import Estimate
from kernels.mapping.similar import SimilarMappings, likeness_of_attention, likeness_of_product
from kernels.mapping.tile_menu import library_attention, library_menu
from kernels.program.tile_program import TileProgram
from uarch.chip.schema import Chip
from uarch.engine.execute import execute
from uarch.engine.machine import lower
from uarch.errors import InputError
from uarch.files.derived import Store, json_store

TRIALS = 48
"""Candidates that are tried on the engine, of each tile shape at most ``TRIALS_PER_TILE``."""
TRIALS_PER_TILE = 2
TRIAL_STEPS = 400_000
"""Most steps that a trial may execute."""
_CHEAP_STEPS = 20_000
"""Most steps of a trial whose estimate is above the best time found so far."""
MOST_EXHAUSTIVE_STEPS = 20_000_000
"""Steps of all candidates together that an exhaustive search may execute."""

_EQUALLY_FAST = 1.005
_HOPEFUL = 1.3
"""Ratio of a candidate's estimate to the best time found, or to the best estimate, up to which it is worth a trial."""
_NEARLY_THE_BEST = 1.1
"""Ratio of closed-form times up to which candidates are nearly the best: among these the one with the fewest, largest steps is
taken, since the closed form does not see how well cores share responses of L2, of which large steps need fewer.
"""

__all__ = ["Mapper", "Search", "rank_attention", "rank_gemm"]

M = TypeVar("M")
Mapping = TypeVar("Mapping", GemmMapping, FlashMapping)


@dataclass(frozen=True)
class Search(Generic[M]):
    """Outcome of a search for a mapping."""

    mapping: M
    candidates: int
    """Mappings that fit the chip's cores, ranked by the closed form."""
    trials: int
    """Number of mappings that were tried on the engine."""


_SEARCHES: dict[type, Store[Any]] = {
    GemmMapping: json_store("gemm-mappings", Search[GemmMapping], "uarch", "kernels"),
    FlashMapping: json_store("attention-mappings", Search[FlashMapping], "uarch", "kernels"),
}
"""Searches on the engine, by the kind of their mappings."""


@dataclass(frozen=True)
class Mapper:
    """Chooser of mappings for a chip; with ``on_engine`` off by the closed form alone, with ``exhaustive`` by trying all.

    An exhaustive search raises :class:`uarch.InputError` where that is too much work.
    """

    chip: Chip
    dtype: str = "fp16"
    on_engine: bool = True
    exhaustive: bool = False
    trials: int = TRIALS
    """Candidates that are tried on the engine at most."""
    similar: SimilarMappings | None = None
    """Mappings that similar shapes share; None: every shape has a search of its own."""

    def gemm(
        self,
        shape: ProductShape,
        build: Callable[[GemmMapping], TileProgram],
        *,
        pack: int = 1,
        packed_columns: bool = False,
        weights: WeightFormat | None = None,
    ) -> GemmMapping:
        """Mapping of a GEMM whose program ``build`` makes; see :meth:`search_gemm`."""
        search = self.search_gemm(shape, build, pack=pack, packed_columns=packed_columns, weights=weights)
        return search.mapping

    def attention(self, attention: Attention, build: Callable[[FlashMapping], TileProgram]) -> FlashMapping:
        """Mapping of streamed attention whose program ``build`` makes; see :meth:`search_attention`."""
        return self.search_attention(attention, build).mapping

    def search_gemm(
        self,
        shape: ProductShape,
        build: Callable[[GemmMapping], TileProgram],
        *,
        pack: int = 1,
        packed_columns: bool = False,
        weights: WeightFormat | None = None,
    ) -> Search[GemmMapping]:
        """Search for the mapping of a (batched or grouped) GEMM whose program ``build`` makes.

        ``pack``: rows come in groups of this size (see :class:`kernels.gemm.gemm.Operand`), so that a tile must cover K, or
        with ``packed_columns`` N. ``weights``: how B is stored, if not plainly in the mapper's datatype.
        """
        ranked = rank_gemm(
            self.chip, shape, dtype=self.dtype, pack=pack, packed_columns=packed_columns, weights=weights
        )
        likeness = likeness_of_product(shape, pack, packed_columns, weights, self.dtype)
        return self._choose(GemmMapping, ranked, build, likeness)

    def search_attention(
        self, attention: Attention, build: Callable[[FlashMapping], TileProgram]
    ) -> Search[FlashMapping]:
        """Search for the mapping of streamed attention whose program ``build`` makes.

        Few query positions: the heads of a group are packed into rows and the KV cache is split until all cores have work.
        Chips with a library take its tiles.
        """
        if self.chip.uses_library:
            menu = library_menu(self.chip.menu).attention
            mapping = library_attention(menu, lower(self.chip, self.dtype), attention)
            if mapping is not None:
                return Search(mapping, 1, 0)
        likeness = likeness_of_attention(attention)
        return self._choose(FlashMapping, rank_attention(self.chip, attention), build, likeness)

    def search_unfused(self, attention: UnfusedAttention) -> tuple[Search[GemmMapping], Search[GemmMapping]]:
        """Search for the mappings of the two products of attention through memory."""
        pack = attention.pack
        scores = self.search_gemm(attention.qk_shape, attention.qk, pack=pack)
        sums = self.search_gemm(attention.pv_shape, attention.pv, pack=pack, packed_columns=True)
        return scores, sums

    def _choose(
        self,
        mapping_type: type[Mapping],
        ranked: Sequence[Estimate[Mapping]],
        build: Callable[[Mapping], TileProgram],
        likeness: Hashable,
    ) -> Search[Mapping]:
        if not self.on_engine or len(ranked) == 1:
            return Search(ranked[0].mapping, len(ranked), 0)
        if self.similar is None:
            return self._search(mapping_type, ranked, build)
        mapping = self.similar.recall(likeness)
        if mapping in {estimate.mapping for estimate in ranked}:
            return Search(mapping, len(ranked), 0)
        search = self._search(mapping_type, ranked, build)
        self.similar.remember(likeness, search.mapping)
        return search

    def _search(
        self,
        mapping_type: type[Mapping],
        ranked: Sequence[Estimate[Mapping]],
        build: Callable[[Mapping], TileProgram],
    ) -> Search[Mapping]:
        if self.exhaustive:
            best, trials = _fastest_of_all(self.chip, ranked, build)
            return Search(best, len(ranked), trials)
        first = build(ranked[0].mapping).relocated()
        store: Store[Search[Mapping]] = _SEARCHES[mapping_type]
        key = store.key(self.chip, first.key(), first.masks, first.mask_bits, repr(ranked), self.trials)
        found = store.recall(key)
        if found is None:
            best, trials = _fastest(self.chip, ranked, build, self.trials)
            found = Search(best, len(ranked), trials)
            store.remember(key, found)
        return found


def _varied(ranked: Sequence[Estimate[Mapping]], trials: int) -> list[Estimate[Mapping]]:
    """First candidates, but few of any one tile shape, whose variants (stages) the closed form tells least apart."""
    taken: Counter[tuple[int, ...]] = Counter()
    varied = []
    for estimate in ranked:
        tile = _tile_of(estimate.mapping)
        if taken[tile] < TRIALS_PER_TILE:
            varied.append(estimate)
        taken[tile] += 1
    return varied[:trials]


def _tile_of(mapping: GemmMapping | FlashMapping) -> tuple[int, ...]:
    if isinstance(mapping, GemmMapping):
        return mapping.tile_m, mapping.tile_n, mapping.tile_k, mapping.split_k
    return mapping.tile_q, mapping.tile_k, mapping.splits


def _fastest(
    chip: Chip, ranked: Sequence[Estimate[Mapping]], build: Callable[[Mapping], TileProgram], trials: int
) -> tuple[Mapping, int]:
    """Find the candidate that is fastest on the engine among the best few, wherever the operands lie, and how many were tried.

    Of those that are within ``_EQUALLY_FAST`` of the fastest, the one with the fewest steps. Candidates that would exceed
    ``TRIAL_STEPS`` are passed over; if all would, the one with the fewest steps of those that are nearly the best.
    """
    tried: list[tuple[float, int, Mapping]] = []
    taken_steps = 0
    for estimate in _varied(ranked, trials):
        best_seconds = min((seconds for seconds, _, _ in tried), default=float("inf"))
        if estimate.seconds >= max(best_seconds, ranked[0].seconds) * _HOPEFUL:
            break
        if taken_steps + estimate.steps > (TRIAL_STEPS if estimate.seconds < best_seconds else _CHEAP_STEPS):
            continue
        tried.append(_try(chip, estimate, build))
        taken_steps += tried[-1][1]
    if not tried:
        near = [estimate for estimate in ranked if estimate.seconds <= ranked[0].seconds * _NEARLY_THE_BEST]
        return min(near, key=lambda estimate: estimate.steps).mapping, 0
    return _best(tried), len(tried)


def _fastest_of_all(
    chip: Chip, ranked: Sequence[Estimate[Mapping]], build: Callable[[Mapping], TileProgram]
) -> tuple[Mapping, int]:
    """Find the candidate that is fastest on the engine by trying every one, and how many that were."""
    steps = sum(estimate.steps for estimate in ranked)
    if steps > MOST_EXHAUSTIVE_STEPS:
        raise InputError(
            f"exhaustive search: {len(ranked)} candidates of {steps} steps in all; "
            f"at most {MOST_EXHAUSTIVE_STEPS} steps are allowed"
        )
    return _best([_try(chip, estimate, build) for estimate in ranked]), len(ranked)


def _try(
    chip: Chip, estimate: Estimate[Mapping], build: Callable[[Mapping], TileProgram]
) -> tuple[float, int, Mapping]:
    """Execute a candidate with a cold L2: its seconds, its steps, and the mapping."""
    program = build(estimate.mapping).relocated()
    return execute(chip, program)[0].seconds, program.dynamic_steps, estimate.mapping


def _best(tried: Sequence[tuple[float, int, Mapping]]) -> Mapping:
    best_seconds = min(seconds for seconds, _, _ in tried)
    equal = [
        (steps, seconds, i) for i, (seconds, steps, _) in enumerate(tried) if seconds <= best_seconds * _EQUALLY_FAST
    ]
    return tried[min(equal)[2]][2]
