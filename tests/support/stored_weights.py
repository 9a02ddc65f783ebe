"""Weights in every format as matrices for the replay, and the dense matrix that they stand for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from kernels.gemm.weights import WeightFormat
from uarch.systolic.sparsity import DENSE, Structure

Matrix = npt.NDArray[np.float64]

GROUP_SIZE = 32


@dataclass(frozen=True)
class Stored:
    """``memory``: what the tensors of some weights hold; ``dense``: shape ``(entries, k, n)``."""

    memory: dict[str, Matrix]
    dense: Matrix


def store_weights(name: str, seed: int, entries: int, k: int, n: int, form: WeightFormat) -> Stored:
    """Random weights: kept places drawn group by group, values and scales normally distributed."""
    random = np.random.default_rng(seed)
    values, scales, places = [], [], []
    dense = np.zeros((entries, k, n))
    for entry in range(entries):
        kept, group = form.structure
        for first in range(0, k, group):
            rows = min(group, k - first)
            for i in range(n):
                chosen = np.sort(random.permutation(rows)[: min(kept, rows)])
                dense[entry, first + chosen, i] = random.normal(size=len(chosen))
        picked = np.argsort(dense[entry] == 0, axis=0, kind="stable") if form.is_sparse else None
        values.append(_gathered(dense[entry], form.structure) if picked is not None else dense[entry].copy())
        places.append(_places(dense[entry], form.structure))
        if form.scaled:
            rows = form.scale_rows(k)
            scales.append(random.normal(size=(rows, n)))
            of_row = np.arange(k) // (form.group_size or k)
            dense[entry] *= scales[-1][of_row]
    memory = {name: np.concatenate(values)}
    if form.scaled:
        memory[f"{name}.scales"] = np.concatenate(scales)
    if form.is_sparse:
        memory[f"{name}.indices"] = np.concatenate(places)
    return Stored(memory, dense)


def _kept_rows(column: Matrix, structure: Structure) -> list[int]:
    rows = []
    for first in range(0, len(column), structure.group):
        part = column[first : first + structure.group]
        rows += [first + int(i) for i in np.flatnonzero(part)]
    return rows


def _gathered(dense: Matrix, structure: Structure) -> Matrix:
    return np.stack([dense[_kept_rows(column, structure), i] for i, column in enumerate(dense.T)], axis=1)


def _places(dense: Matrix, structure: Structure) -> Matrix:
    columns = [np.array(_kept_rows(column, structure)) % structure.group for column in dense.T]
    return np.stack(columns, axis=1).astype(np.float64)


def weight_formats() -> st.SearchStrategy[WeightFormat]:
    """Plain, converted and same-type values; no scales, one a column, one a group; dense and N:M, skipped or expanded."""
    dtypes = st.sampled_from(
        [("fp16", "fp16"), ("int4", "fp16"), ("mxfp4", "fp16"), ("fp8", "fp16"), ("fp8", "fp8"), ("int4", "int8")]
    )
    structures = st.sampled_from([DENSE, Structure(2, 4), Structure(1, 4), Structure(3, 8)])
    return st.builds(
        lambda dtype, scales, structure, skips: WeightFormat(
            dtype[0],
            dtype[1],
            scaled=dtype[0] != "fp16" and scales != "none",
            group_size=GROUP_SIZE if dtype[0] != "fp16" and scales == "group" else None,
            structure=structure,
            skips_zeros=skips and structure != DENSE,
        ),
        dtypes,
        st.sampled_from(["none", "column", "group"]),
        structures,
        st.booleans(),
    )
