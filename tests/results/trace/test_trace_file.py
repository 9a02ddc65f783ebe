"""The file of a trace: everything comes back, nothing else is read as one, nothing half-written stays.

Exercised with it: arrays_file and disk_file.
"""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.trace import trace_file
from results.trace.schema import LAYER_DTYPE, SCHEMA_VERSION, STALL_CAUSES, TIMELINE_DTYPE, TIMELINE_TRACKS, unit_of
from results.trace.trace import Trace, TraceError
from tests.support.full_disk import largest_file
from tests.support.synthetic_trace import MODELS, TOKENS, make_trace


def assert_equal(left: Trace, right: Trace) -> None:
    assert left.chip == right.chip
    assert left.workload == right.workload
    assert (left.package_version, left.seed) == (right.package_version, right.seed)
    assert left.rollup == right.rollup
    assert {name: type(value) for name, value in left.rollup.items()} == {
        name: type(value) for name, value in right.rollup.items()
    }
    assert left.layers.dtype == right.layers.dtype
    assert left.layers.tobytes() == right.layers.tobytes()
    assert (left.timeline is None) == (right.timeline is None)
    if left.timeline is not None and right.timeline is not None:
        assert left.timeline.tobytes() == right.timeline.tobytes()


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**63 - 1),
    model=st.sampled_from(sorted(MODELS)),
    phase=st.sampled_from(sorted(TOKENS)),
    n_cores=st.integers(0, 3),
)
def test_round_trip_is_bit_equal(
    tmp_path_factory: pytest.TempPathFactory, seed: int, model: str, phase: str, n_cores: int
) -> None:
    trace = make_trace(seed, model=model, phase=phase, n_cores=n_cores)
    path = tmp_path_factory.mktemp("traces") / "run.h5"
    trace.save(path)
    assert_equal(Trace.load(path), trace)


def test_equal_traces_give_equal_bytes(tmp_path: Path) -> None:
    make_trace(7, n_cores=2).save(tmp_path / "first.h5")
    make_trace(7, n_cores=2).save(tmp_path / "second.h5")
    make_trace(8, n_cores=2).save(tmp_path / "other.h5")
    first = (tmp_path / "first.h5").read_bytes()
    assert (tmp_path / "second.h5").read_bytes() == first
    assert (tmp_path / "other.h5").read_bytes() != first


def test_plain_h5py_reads_it(tmp_path: Path) -> None:
    trace = make_trace(n_cores=1)
    trace.save(tmp_path / "run.h5")
    with h5py.File(tmp_path / "run.h5", "r") as file:
        assert file.attrs["schema_version"] == SCHEMA_VERSION
        assert json.loads(file.attrs["chip"])["name"] == "chip-a"
        assert json.loads(file.attrs["workload"])["phase"] == "prefill"
        units = json.loads(file.attrs["units"])
        assert set(units) >= {*(LAYER_DTYPE.names or ()), *(TIMELINE_DTYPE.names or ()), *trace.rollup}
        assert units["dram_read_bytes"] == "B"
        assert units["tokens_per_second"] == "tokens/s"
        assert file["layers"].dtype == LAYER_DTYPE
        assert file["layers"].compression == "gzip"
        assert file["rollup"].attrs["seconds"] == trace.rollup["seconds"]
        assert json.loads(file["timeline"].attrs["causes"]) == list(STALL_CAUSES)
        assert json.loads(file["timeline"].attrs["tracks"]) == list(TIMELINE_TRACKS)


def test_description_larger_than_an_hdf5_header(tmp_path: Path) -> None:
    trace = make_trace()
    big = Trace({"name": "x", "notes": "n" * 200_000}, trace.workload, "0", 1, trace.layers, trace.rollup)
    big.save(tmp_path / "run.h5")
    assert Trace.load(tmp_path / "run.h5").chip == big.chip


def test_timeline_that_is_added_in_parts(tmp_path: Path) -> None:
    trace, path = make_trace(n_cores=3), tmp_path / "run.h5"
    assert trace.timeline is not None
    with trace_file.open_writer(path) as writer:
        for first in range(0, len(trace.timeline), 100):
            writer.add_intervals(trace.timeline[first : first + 100])
        writer.finish(trace_file.Contents(**{**vars(trace), "timeline": None}))
    assert_equal(Trace.load(path), trace)
    assert Trace.load(path, with_timeline=False).timeline is None
    parts = list(trace_file.read_intervals(path, 70))
    assert max(map(len, parts)) == 70
    assert np.concatenate(parts).tobytes() == trace.timeline.tobytes()


def peak_bytes(action: Callable[[], object]) -> int:
    tracemalloc.start()
    action()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_of_a_timeline_does_not_grow_with_it(tmp_path: Path) -> None:
    trace = make_trace()
    part = np.zeros(5000, TIMELINE_DTYPE)
    part["end_ps"] = np.arange(5000)
    part["op"] = 1

    def write(path: Path, parts: int) -> None:
        with trace_file.open_writer(path) as writer:
            for _ in range(parts):
                writer.add_intervals(part)
            writer.finish(trace_file.Contents(**vars(trace)))

    def read(path: Path) -> int:
        return sum(map(len, trace_file.read_intervals(path, 10_000)))

    short, long = tmp_path / "short.h5", tmp_path / "long.h5"
    write(short, 1)  # what is imported and set up the first time does not count
    assert peak_bytes(lambda: write(long, 40)) < 1.2 * peak_bytes(lambda: write(short, 8)) < 40 * part.nbytes
    assert read(long) == 40 * 5000
    assert peak_bytes(lambda: read(long)) < 1.2 * peak_bytes(lambda: read(short)) < 40 * part.nbytes


def assert_refused(path: Path, *words: str) -> None:
    with pytest.raises(TraceError) as caught:
        Trace.load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert all(word in message for word in words)


def test_refuses_what_is_no_file(tmp_path: Path) -> None:
    assert_refused(tmp_path / "absent.h5", "no such file")
    assert_refused(tmp_path, "not a regular file")


@pytest.mark.parametrize("content", [b"", b"some text\n", b"\x89HDF\r\n\x1a\n", bytes(4096)])
def test_refuses_other_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.h5").write_bytes(content)
    assert_refused(tmp_path / "run.h5", "not a trace")


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("complete") / "run.h5"
    make_trace(n_cores=1).save(path)
    return path.read_bytes()


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_refuses_truncated_files(
    tmp_path_factory: pytest.TempPathFactory, complete: bytes, data: st.DataObject
) -> None:
    length = data.draw(st.integers(0, len(complete) - 1))
    path = tmp_path_factory.mktemp("truncated") / "run.h5"
    path.write_bytes(complete[:length])
    assert_refused(path, "not a trace")


def test_refuses_a_damaged_table(tmp_path: Path, complete: bytes) -> None:
    path = tmp_path / "run.h5"
    path.write_bytes(complete)
    with h5py.File(path, "r") as file:
        chunk = file["layers"].id.get_chunk_info(0)
    damaged = bytearray(complete)
    damaged[chunk.byte_offset + chunk.size // 2] ^= 0xFF
    path.write_bytes(damaged)
    assert_refused(path, "damaged")


def _newer(file: h5py.File) -> None:
    file.attrs["schema_version"] = SCHEMA_VERSION + 1


def _zero(file: h5py.File) -> None:
    file.attrs["schema_version"] = 0


def _without_version(file: h5py.File) -> None:
    del file.attrs["schema_version"]


def _without_layers(file: h5py.File) -> None:
    del file["layers"]


def _without_rollup(file: h5py.File) -> None:
    del file["rollup"]


def _chip_not_json(file: h5py.File) -> None:
    file.attrs["chip"] = "{"


def _chip_a_list(file: h5py.File) -> None:
    file.attrs["chip"] = "[]"


def _chip_without_name(file: h5py.File) -> None:
    file.attrs["chip"] = "{}"


def _other_columns(file: h5py.File) -> None:
    del file["layers"]
    file["layers"] = np.zeros(3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_newer, "update uarch"),
        (_zero, "schema_version 0"),
        (_without_version, "no trace of uarch"),
        (_without_layers, "no trace of uarch"),
        (_without_rollup, "not a trace"),
        (_chip_not_json, "not a trace"),
        (_chip_a_list, "not a trace"),
        (_chip_without_name, "chip.name"),
        (_other_columns, "not a trace"),
    ],
)
def test_refuses_foreign_hdf5(tmp_path: Path, complete: bytes, change: Callable[[h5py.File], None], words: str) -> None:
    path = tmp_path / "run.h5"
    path.write_bytes(complete)
    with h5py.File(path, "r+") as file:
        change(file)
    assert_refused(path, words)


def test_refuses_wrong_tables() -> None:
    trace = make_trace()
    with pytest.raises(TraceError, match="layers"):
        Trace(trace.chip, trace.workload, "0", 0, np.zeros(3), trace.rollup)
    with pytest.raises(TraceError, match="timeline"):
        Trace(trace.chip, trace.workload, "0", 0, trace.layers, trace.rollup, np.zeros(3))
    with pytest.raises(TraceError, match=r"workload\.phase"):
        Trace(trace.chip, {"model": "m"}, "0", 0, trace.layers, trace.rollup)


@pytest.mark.parametrize("failure", [RuntimeError("in the middle"), OSError(28, "No space left on device")])
def test_failure_in_the_middle_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    path = tmp_path / "run.h5"
    make_trace(1).save(path)
    before = path.read_bytes()

    def fail(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setattr(h5py.Group, "create_group", fail)
    with pytest.raises(type(failure)):
        make_trace(2).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("part", [0.0, 0.05, 0.3, 0.6, 0.9, 0.999])
def test_full_disk_leaves_no_file(tmp_path: Path, complete: bytes, part: float) -> None:
    path = tmp_path / "run.h5"
    trace = make_trace(n_cores=1)
    with largest_file(int(len(complete) * part)), pytest.raises(OSError, match="File too large") as caught:
        trace.save(path)
    assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_places_name_the_place(tmp_path: Path) -> None:
    trace = make_trace()
    with pytest.raises(FileNotFoundError) as caught:
        trace.save(tmp_path / "absent" / "run.h5")
    assert caught.value.filename == str(tmp_path / "absent")
    with pytest.raises(OSError, match="not a regular file"):
        trace.save(tmp_path)
    trace.save("/dev/null")


def test_every_number_has_a_unit() -> None:
    numbers = [name for dtype in (LAYER_DTYPE, TIMELINE_DTYPE) for name in dtype.names or () if dtype[name].kind != "S"]
    numbers += [name for name, value in make_trace().rollup.items() if not isinstance(value, str)]
    assert [name for name in numbers if unit_of(name) == "text or count"] == []
