"""SCALE-Sim's files: what is read, what is refused, and that a convolution's GEMM has its size."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.golden import REFERENCE
from uarch.errors import InputError
from uarch.systolic.cycles import Dataflow
from uarch.systolic.scalesim import run_layer
from uarch.systolic.scalesim_files import Config, Layer, read_config, read_topology
from uarch.systolic.sparsity import Structure

CONFIG = """[general]
run_name = test

[architecture_presets]
ArrayHeight:    8
ArrayWidth:     16
IfmapSramSzkB:   64
FilterSramSzkB:  32
OfmapSramSzkB:   16
Bandwidth : 10
Dataflow : ws

[sparsity]
SparsitySupport : false
OptimizedMapping : true

[run_presets]
InterfaceBandwidth: CALC
"""
GEMM = "Layer,M,N,K,\nfirst,20,30,50,\n\nsecond,7,33,41,1:4,\n"
CONV_HEADER = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n"


def _file(folder: Path, text: str, name: str = "input") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_config_is_read(tmp_path: Path) -> None:
    config = read_config(_file(tmp_path, CONFIG))
    assert config == Config(8, 16, Dataflow.WS, (64 * 1024, 32 * 1024, 16 * 1024), None, False)
    user = CONFIG.replace("CALC", "USER")
    assert read_config(_file(tmp_path, user)).words_per_cycle == (10, 10, 10)
    assert read_config(_file(tmp_path, user.replace(": 10", ": 1, 2, 3"))).words_per_cycle == (1, 2, 3)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ArrayHeight:    8", "ArrayHeight:    eight", r"input:5: ArrayHeight = 'eight': must be a whole number"),
        ("ArrayHeight:    8", "ArrayHeight:    0", r"input:5: ArrayHeight = '0'"),
        ("ArrayHeight:    8\n", "", r"input: ArrayHeight is missing"),
        ("ArrayHeight:    8", "ArrayHeight 8", r"input:5: 'ArrayHeight 8': must be"),
        ("ArrayHeight:    8", "ArrayWidth:    8", r"input:6: ArrayWidth is given twice, first in line 5"),
        ("Dataflow : ws", "Dataflow : rs", r"input:11: Dataflow = 'rs': not known; .*allowed: os, ws, is"),
        ("CALC", "FAST", r"input:18: InterfaceBandwidth = 'FAST': must be CALC or USER"),
        ("SparsitySupport : false", "SparsitySupport : maybe", r"input:14: SparsitySupport = 'maybe'"),
        ("SparsitySupport : false", "SparsitySupport : true", r"input:15: OptimizedMapping = true: not modelled"),
        ("ArrayWidth:     16", "ArrayWidth:     8000", r"OfmapSramSzkB = 16: must be at least 32 for the array"),
    ],
)
def test_bad_config_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_config(_file(tmp_path, CONFIG.replace(old, new)))


def test_bad_bandwidth_is_refused(tmp_path: Path) -> None:
    user = CONFIG.replace("CALC", "USER").replace(": 10", ": 1, 2")
    with pytest.raises(
        InputError, match=r"input:10: Bandwidth = '1, 2': must be one whole number, or one for each SRAM"
    ):
        read_config(_file(tmp_path, user))


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_config(tmp_path / "missing.cfg")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        read_topology(tmp_path / "binary")


def test_gemm_topology_is_read_with_and_without_last_comma(tmp_path: Path) -> None:
    expected = [Layer("first", 20, 30, 50), Layer("second", 7, 33, 41, Structure(1, 4))]
    assert read_topology(_file(tmp_path, GEMM)) == expected
    assert read_topology(_file(tmp_path, GEMM.replace(",\n", "\n")), "gemm") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GEMM.replace("33", "x"), r"input:4: N = 'x': must be a whole number from 1 to 9"),
        (GEMM.replace("7,33,41,1:4", "7,33"), r"input:4: column K is missing"),
        (GEMM.replace("1:4", "4:1"), r"input:4: Sparsity = '4:1': must be N:M"),
        (GEMM.replace("1:4", "1:4,9"), r"input:4: 6 columns"),
        (GEMM.replace("-", "0").replace("20", "-20"), r"input:2: M = '-20'"),
        ("Layer,M,N,K,\n", r"no layers"),
        ("first,20,30,50,\nsecond,7,33,41,\n", r"input:1: a layer where the header belongs"),
        (
            CONV_HEADER + "c, 8, 8, 9, 3, 4, 4, 1,\n",
            r"input:2: Filter Height = 9: must be at most the IFMAP's 8",
        ),
        (CONV_HEADER + "c, 8, 8, 3, 3, 4, 4, 0,\n", r"input:2: Strides = '0'"),
        (CONV_HEADER + "c, 8, 8, 3, 3, 4, 4,\n", r"input:2: column Strides is missing"),
    ],
)
def test_bad_topology_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_topology(_file(tmp_path, text))


@settings(deadline=None)
@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    filter_size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    stride=st.integers(1, 5),
)
def test_convolution_has_one_row_for_each_place_of_the_filter(
    tmp_path_factory: pytest.TempPathFactory, size: tuple[int, int], filter_size: tuple[int, int], stride: int
) -> None:
    if filter_size[0] > size[0] or filter_size[1] > size[1]:
        return
    places = [
        (top, left)
        for top in range(0, size[0], stride)
        for left in range(0, size[1], stride)
        if top + filter_size[0] <= size[0] and left + filter_size[1] <= size[1]
    ]
    line = f"c, {size[0]}, {size[1]}, {filter_size[0]}, {filter_size[1]}, 3, 5, {stride},\n"
    path = _file(tmp_path_factory.mktemp("conv"), CONV_HEADER + line)
    assert read_topology(path) == [Layer("c", len(places), 5, filter_size[0] * filter_size[1] * 3)]


def test_scalesim_rounds_the_output_size_up(tmp_path: Path) -> None:
    """A 1 x 1 filter with stride 2 on 56 x 56 has 28 x 28 outputs; SCALE-Sim has 29 x 29 (README of the reference)."""
    path = _file(tmp_path, CONV_HEADER + "c, 56, 56, 1, 1, 64, 128, 2,\n")
    assert read_topology(path)[0].m == 28 * 28
    assert read_topology(path, exact_output_size=False)[0].m == 29 * 29


def test_depthwise_layer_is_one_layer_for_each_channel(tmp_path: Path) -> None:
    path = _file(tmp_path, CONV_HEADER + "DP1, 9, 9, 3, 3, 2, 5, 1,\n")
    assert read_topology(path) == [Layer("DP1Channel_0", 49, 5, 9), Layer("DP1Channel_1", 49, 5, 9)]


MEASURED = [
    # SCALE-Sim 3.0.0, 8 x 16 array, CALC: dataflow, Total Cycles, Overall Util %, Mapping Efficiency %
    (Dataflow.OS, Layer("A", 20, 30, 50, Structure(2, 4)), 287, 81.6637630662021, 78.125),
    (Dataflow.OS, Layer("B", 7, 33, 41, Structure(1, 4)), 98, 75.50223214285714, 60.15625),
    (Dataflow.WS, Layer("A", 20, 30, 50, Structure(2, 4)), 399, 58.7406015037594, 76.171875),
    (Dataflow.WS, Layer("B", 7, 33, 41, Structure(1, 4)), 221, 33.480627828054295, 47.265625),
    (Dataflow.IS, Layer("A", 20, 30, 50, Structure(2, 4)), 479, 48.930062630480165, 50.78125),
    (Dataflow.IS, Layer("B", 7, 33, 41, Structure(1, 4)), 125, 59.19375, 30.078125),
    # conv 17 x 18, filter 3 x 3, 4 channels, 20 filters, stride 2, its rounding: 8 x 9 outputs
    (Dataflow.OS, Layer("Conv1", 72, 20, 36), 1043, 38.830297219558965, 62.5),
    (Dataflow.WS, Layer("Conv1", 72, 20, 36), 1019, 39.74484789008832, 56.25),
    (Dataflow.IS, Layer("Conv1", 72, 20, 36), 1249, 32.42594075260208, 81.0),
]


@pytest.mark.parametrize(("dataflow", "layer", "cycles", "utilization", "mapping_efficiency"), MEASURED)
def test_sparse_and_convolution_layers_equal_scalesim(
    dataflow: Dataflow, layer: Layer, cycles: int, utilization: float, mapping_efficiency: float
) -> None:
    made = run_layer(Config(8, 16, dataflow, (65536,) * 3, None, True), layer)
    assert (made.cycles, made.stall_cycles) == (cycles, 0)
    assert made.utilization_percent == utilization
    assert made.mapping_efficiency_percent == mapping_efficiency


def test_files_are_read_as_the_tool_has_them(tmp_path: Path) -> None:
    """Sections that this model has no use for are passed over; the reference has the tool's own files."""
    layout = "\n[layout]\nIfmapCustomLayout: False\nIfmapSRAMBankNum: 10\n"
    _file(tmp_path, CONFIG.replace(": ws", ": os") + layout, "scalesim_32x32_os.cfg")
    _file(tmp_path, "Layer,M,N,K,\nQKT,1024,1024,64,\nQKTV,1024,64,1024,\n", "gemm_gpt2.csv")
    _file(tmp_path, CONV_HEADER + "Conv1,224,224,11,11,3,96,4,\n", "conv_alexnet_part.csv")
    for folder in filter(None, (tmp_path, REFERENCE and REFERENCE / "systolic")):
        assert read_config(folder / "scalesim_32x32_os.cfg").dataflow == Dataflow.OS
        assert read_topology(folder / "gemm_gpt2.csv")[0] == Layer("QKT", 1024, 1024, 64)
        assert read_topology(folder / "conv_alexnet_part.csv") == [Layer("Conv1", 54 * 54, 96, 11 * 11 * 3)]
