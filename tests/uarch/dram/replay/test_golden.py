"""Ramulator 2.1 and DRAMsim3 on the streams of the reference: equal ticks, latencies, row hits, refreshes and energy.

The rows were measured with both tools; tests/golden/README.md has the rule by which the streams are made.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.golden import golden_rows
from uarch.dram.controller.options import ControllerOptions
from uarch.dram.replay.channel import ChannelResult, simulate_channel
from uarch.dram.replay.requests import RequestStream, splitmix64
from uarch.dram.standards.standard import Standard, load_standard

STANDARDS = {
    "hbm2_M1": "dramsim3-hbm2",
    "gddr6_M1": "dramsim3-gddr6",
    "gddr6bg_M1": "dramsim3-gddr6-bg",
    "hbm2": "hbm2-2000",
    "hbm3": "hbm3-6400",
    "gddr6": "gddr6-14000",
    "gddr7": "gddr7-28000",
}
MAPPINGS = {"M1": "ro-sid-ba-bg-co", "M2": "ro-sid-ba-co-bg", "M3": "ro-sid-co-ba-bg"}
SCHEDULERS = {"FRFCFS": "frfcfs", "FRFCFSRowHit": "frfcfs-rowhit"}
REFRESH = {"AllBank": "all", "NoRefresh": "none", "PerBank": "bank"}
ENERGIES = {
    "act_energy": "activate",
    "read_energy": "read",
    "write_energy": "write",
    "ref_energy": "refresh",
    "act_stb_energy": "active_standby",
    "pre_stb_energy": "precharge_standby",
}
ROWS = golden_rows("dram.csv", "dram/golden.csv")
SATURATING = [row for row in ROWS if not row["pattern"].startswith("idle")]
IDLE = [row for row in ROWS if row["pattern"].startswith("idle")]
needs_jit = pytest.mark.compiled("200000 requests are too many for interpreted kernels")


def identifier(row: dict[str, str]) -> str:
    return f"{row['sim']}-{row['config']}-{row['pattern']}-{row['map']}"


def setup(row: dict[str, str]) -> tuple[Standard, ControllerOptions]:
    config, *variant = row["config"].split("/")
    scheduler, refresh = variant or ("FRFCFSRowHit", "AllBank")
    name = "dramsim3" if row["sim"] == "DRAMsim3" else SCHEDULERS[scheduler]
    return load_standard(STANDARDS[config]), ControllerOptions(scheduler=name, refresh=REFRESH[refresh])


def stream_of(standard: Standard, pattern: str, count: int) -> RequestStream:
    index = np.arange(count, dtype=np.int64)
    organisation = standard.organisation
    bursts = standard.capacity_bytes // standard.burst_bytes
    burst = index
    is_write = np.full(count, int(pattern == "seq_wr"), dtype=np.int64)
    if pattern == "rand_rd":
        burst = (splitmix64(index) & np.uint64(bursts - 1)).astype(np.int64)
    elif pattern == "conflict_inc":
        burst = (index % organisation.rows) * standard.banks * organisation.bursts_per_row
    return RequestStream(np.zeros(count, dtype=np.int64), is_write, burst * standard.burst_bytes)


def replay(row: dict[str, str]) -> ChannelResult:
    standard, options = setup(row)
    return simulate_channel(standard, stream_of(standard, row["pattern"], int(row["n"])), options, MAPPINGS[row["map"]])


@needs_jit
@pytest.mark.parametrize("row", SATURATING, ids=map(identifier, SATURATING))
def test_saturating_streams(row: dict[str, str]) -> None:
    is_bank_refresh_at_random = row["config"].endswith("PerBank") and row["pattern"] == "rand_rd"
    tolerance = 0.001 if is_bank_refresh_at_random else 0.0
    result = replay(row)
    assert result.ticks == pytest.approx(int(row["ticks"]), rel=tolerance, abs=0)
    assert result.refreshes == pytest.approx(int(row["refreshes"]), rel=tolerance, abs=0)
    if row["read_lat_ns"]:
        assert result.read_latency_ns.mean() == pytest.approx(float(row["read_lat_ns"]), rel=tolerance, abs=0.0051)
    assert result.row_hit_rate == pytest.approx(float(row["row_hit_rate"]), abs=0.0006)
    if row["acts"]:
        assert result.activates == int(row["acts"])
        clock_ns = float(row["tick_ns"])  # the tool prints volts x milliamperes x cycles
        for column, component in ENERGIES.items():
            joules = getattr(result.energy, component)
            assert joules * 1e12 == pytest.approx(float(row[column]) * clock_ns, rel=2e-3), component


@pytest.mark.parametrize("row", IDLE, ids=map(identifier, IDLE))
def test_idle_latencies(row: dict[str, str]) -> None:
    standard, options = setup(row)
    row_stride = standard.banks * standard.row_bytes
    addresses = {
        "idle_closed": [0],
        "idle_open_hit": [0, standard.burst_bytes],
        "idle_conflict": [0, row_stride],
    }[row["pattern"]]
    # An even gap that is long enough for the first read to be done, as the tool's own measurement has.
    arrival = np.array([0, 1001][: len(addresses)], dtype=np.int64)
    stream = RequestStream(arrival, np.zeros(len(addresses), dtype=np.int64), np.array(addresses, dtype=np.int64))
    result = simulate_channel(standard, stream, options, MAPPINGS["M1"])
    assert round(result.read_latency_ns[-1] / standard.tick_ns, 6) == int(row["ticks"])
