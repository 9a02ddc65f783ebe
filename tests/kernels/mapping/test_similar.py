"""Mappings that similar shapes share."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernels.attention.attention import Attention
from kernels.gemm.gemm import GemmMapping, GemmShape, GroupedShape
from kernels.mapping.mapper import Mapper
from kernels.mapping.similar import SimilarMappings, coarse, likeness_of_attention, likeness_of_product
from kernels.program.tile_program import TileProgram
from tests.support.small_programs import gemm_program, small_chip


@given(st.integers(0, 1 << 40))
def test_coarse_sizes_are_less_than_an_eighth_below(size: int) -> None:
    assert size * 7 / 8 <= coarse(size) <= size
    assert coarse(coarse(size)) == coarse(size)


def test_products_are_alike_in_rows_only() -> None:
    first = likeness_of_product(GemmShape(512, 64, 32))
    assert first == likeness_of_product(GemmShape(552, 64, 32))
    assert first != likeness_of_product(GemmShape(576, 64, 32))
    assert first != likeness_of_product(GemmShape(512, 65, 32))
    assert likeness_of_product(GroupedShape((3, 0), 8, 8)) != likeness_of_product(GroupedShape((2, 1), 8, 8))


def test_attentions_are_alike_in_lengths_only() -> None:
    def ragged(q_len: list[int], kv_len: list[int], heads: int = 8) -> Attention:
        lengths = np.array(q_len), np.array(kv_len)
        return Attention(len(q_len), heads, 2, 64, max(q_len), max(kv_len), lengths=lengths)

    first = likeness_of_attention(ragged([1, 64], [1000, 64]))
    assert first == likeness_of_attention(ragged([1, 64], [1010, 64]))
    assert first != likeness_of_attention(ragged([1, 64], [1300, 64]))
    assert first != likeness_of_attention(ragged([1, 64], [1000, 64], heads=4))


def test_a_similar_shape_needs_no_search() -> None:
    """The second one takes the mapping of the first without a trial; without sharing it is tried."""
    chip, tried = small_chip("h100", "mapping=search"), []

    def searched(m: int, mapper: Mapper) -> GemmMapping:
        def build(mapping: GemmMapping) -> TileProgram:
            tried.append(mapping)
            return gemm_program(m, 96, 64, mapping)

        return mapper.gemm(GemmShape(m, 96, 64), build)

    sharing = Mapper(chip, similar=SimilarMappings(), trials=2)
    first = searched(129, sharing)
    tried.clear()
    assert searched(131, sharing) == first
    assert not tried
