"""Building the layers table from plain rows."""

from __future__ import annotations

import numpy as np
import pytest

from results.trace.schema import LAYER_DTYPE, layer_table, matrix, text


def test_absent_fields_are_zero() -> None:
    table = layer_table([{"name": "qkv", "flops": 3}, {"kind": "norm", "layer": -1}])
    assert table.dtype == LAYER_DTYPE
    assert text(table["name"]) == ["qkv", ""]
    assert text(table["kind"]) == ["", "norm"]
    assert table["flops"].tolist() == [3.0, 0.0]
    assert table["layer"].tolist() == [0, -1]


def test_no_rows() -> None:
    assert layer_table([]).shape == (0,)


def test_unknown_field_is_refused() -> None:
    with pytest.raises(ValueError, match="row 1: no field 'flop'"):
        layer_table([{"flops": 1}, {"flop": 1}])


def test_text_is_never_cut_off() -> None:
    longest = LAYER_DTYPE["name"].itemsize
    assert text(layer_table([{"name": "x" * longest}])["name"]) == ["x" * longest]
    with pytest.raises(ValueError, match="row 0: name"):
        layer_table([{"name": "x" * (longest + 1)}])
    with pytest.raises(ValueError, match="row 0: name"):
        layer_table([{"name": "é" * (longest // 2 + 1)}])
    assert text(layer_table([{"shape": "2 × 3"}])["shape"]) == ["2 × 3"]


def test_matrix_takes_fields_as_columns() -> None:
    table = layer_table([{"flops": 1, "macs": 2}, {"flops": 3, "macs": 4}])
    np.testing.assert_array_equal(matrix(table, ["macs", "flops"]), [[2, 1], [4, 3]])
