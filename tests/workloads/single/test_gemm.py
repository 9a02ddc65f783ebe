"""One kernel alone: what its result must add up to, and what it must refuse."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.attention.attention import Attention
from tests.support.forgetful import forget_mappings
from uarch.chip_file import load_chip
from uarch.energy.static_power import static_power, static_watts
from uarch.energy.supply_voltage import operating_point
from uarch.errors import InputError
from workloads.running.kernel_run import KernelRun
from workloads.single.attention import simulate_attention
from workloads.single.gemm import simulate_gemm

SMALL_CHIP = load_chip("h100", ["core.count=4", "mapping=search"])
SMALL_ATTENTION: dict[str, Any] = {"batch": 2, "q_heads": 4, "kv_heads": 2, "head_dim": 32, "kv_len": 96}
sizes = st.integers(1, 200)


def assert_adds_up(run: KernelRun) -> None:
    assert run.seconds >= run.roofline_seconds > 0
    assert sum(run.seconds_by_cause.values()) == pytest.approx(run.seconds)
    assert sum(program.seconds for program in run.programs) == pytest.approx(run.seconds)
    assert run.cycles == pytest.approx(run.seconds * SMALL_CHIP.clock.tensor_hz, abs=1)
    assert run.energy_joules == sum(run.joules_by_component.values())
    point = operating_point(SMALL_CHIP, run.tensor_hz / SMALL_CHIP.clock.tensor_hz)
    static_joules = run.joules_by_component["static"]
    assert static_joules >= static_power(SMALL_CHIP, point).watts * run.seconds
    others = (run.energy_joules - static_joules) / run.seconds
    assert static_joules == pytest.approx(static_watts(SMALL_CHIP, point, others) * run.seconds)
    assert run.average_board_power_watts == pytest.approx(run.average_power_watts / 0.9)
    assert 2 * run.macs >= run.flops
    assert 0 < run.utilization <= 1


@given(m=sizes, n=sizes, k=sizes)
def test_a_gemm_adds_up(m: int, n: int, k: int) -> None:
    run = simulate_gemm(SMALL_CHIP, m, n, k)
    assert_adds_up(run)
    assert run.flops == 2 * m * n * k
    assert run.macs == m * n * k
    assert run.dram_bytes >= 2 * (m * k + k * n)
    assert run.l2_bytes >= 2 * (m * k + k * n + m * n)
    (program,) = run.programs
    assert program.mapping is not None
    assert 0 <= program.trials <= program.candidates


@pytest.mark.parametrize("schedule", ["flash", "unfused"])
@pytest.mark.parametrize(("phase", "q_len"), [("prefill", 96), ("prefill", 32), ("decode", 1)])
def test_attention_adds_up(schedule: str, phase: str, q_len: int) -> None:
    run = simulate_attention(SMALL_CHIP, phase, **SMALL_ATTENTION, q_len=q_len, schedule=schedule)
    assert_adds_up(run)
    # each new token sees the keys up to its own, in both products, of every query head and sequence
    seen = sum(range(96 - q_len + 1, 96 + 1))
    assert run.flops == 2 * 2 * seen * 32 * 4 * 2
    assert [program.name for program in run.programs] == (
        ["attention"] if schedule == "flash" else ["qk", "softmax", "pv"]
    )


@pytest.mark.parametrize(("phase", "q_len"), [("prefill", 96), ("decode", 1)])
def test_new_tokens_if_not_told(phase: str, q_len: int) -> None:
    assert simulate_attention(SMALL_CHIP, phase, **SMALL_ATTENTION).shape == str(Attention(2, 4, 2, 32, q_len, 96))


def test_scores_stay_in_l2_from_one_kernel_to_the_next() -> None:
    """Scores and probabilities (4 x 96 x 96 each, twice) are far smaller than L2: only Q, K and V come from memory."""
    chip = load_chip("h100", ["core.count=4", "mapping=search", "l2.eager_write_back=false"])
    run = simulate_attention(chip, "prefill", **SMALL_ATTENTION, schedule="unfused")
    assert run.dram_bytes == 2 * 2 * 96 * 32 * (4 + 2 + 2)
    assert run.l2_bytes > 4 * 2 * 2 * 4 * 96 * 96


def test_a_search_and_its_recall_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    first = simulate_gemm(SMALL_CHIP, 130, 70, 90)
    assert simulate_gemm(SMALL_CHIP, 130, 70, 90) == first
    forget_mappings(monkeypatch)
    assert simulate_gemm(SMALL_CHIP, 130, 70, 90) == first


def test_analytical_is_the_roofline() -> None:
    """A large GEMM is bound by the arrays: 2 m n k over the data sheet's peak."""
    run = simulate_gemm("h100", 1024, 1024, 1024, fidelity="analytical")
    peak_flops = 132 * 4 * 16 * 32 * 2 * 1.83e9
    assert run.seconds == run.roofline_seconds == pytest.approx(2 * 1024**3 / peak_flops, abs=1e-12)
    assert (run.bound_by, run.utilization) == ("compute", pytest.approx(1))
    assert run.programs[0].trials == 0


def test_doubled_bandwidth_saves_what_the_stalls_of_working_cores_say() -> None:
    """A product with few rows waits for DRAM most of its time; twice the bandwidth takes away about half of that wait.

    Causes are means over all cores. At 50 GB/s the 1.1 MB of the product take 21.9 us however it is cut, so that the mapper
    has no reason to share it out: four blocks of 128 columns for 16 cores. Three quarters of the core time is ``idle``, and
    what the four working cores wait for DRAM appears as a quarter of itself; by working core it is those 21.9 us.
    """
    chips = [
        load_chip(
            "h100",
            [
                "core.count=16",
                "mapping=search",
                "core.step_gap_cycles=0",
                "launch.kernel_seconds=0",
                "launch.matrix_kernel_seconds=0",
                f"memory.bandwidth_bytes_per_second={bandwidth}",
            ],
        )
        for bandwidth in (5e10, 1e11)
    ]
    slow, fast = (simulate_gemm(chip, 16, 512, 1024) for chip in chips)
    working = 1 - slow.seconds_by_cause["idle"] / slow.seconds
    waited, saved = slow.seconds_by_cause["dram"] / working, slow.seconds - fast.seconds
    assert working == pytest.approx(4 / 16, rel=0.1)
    assert waited == pytest.approx(slow.dram_bytes / 5e10, rel=0.05)
    assert waited > 0.7 * slow.seconds
    assert 0.45 * waited < saved < waited


def test_rungs_of_fidelity_agree_on_the_work() -> None:
    runs = [simulate_gemm(SMALL_CHIP, 96, 64, 64, fidelity=fidelity) for fidelity in ("analytical", "tile", "burst")]
    assert len({(run.flops, run.macs) for run in runs}) == 1
    assert runs[0].seconds <= min(runs[1].seconds, runs[2].seconds)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"m": 0}, "m = 0: must be at least 1"),
        ({"k": -4}, "k = -4: must be at least 1"),
        ({"k": 4.0}, "k = 4.0: must be a whole number"),
        ({"n": 1 << 30}, f"n = {1 << 30}: must be at least 1 and at most"),
        ({"dtype": "fp17"}, "dtype = 'fp17': not known; did you mean 'fp16'? allowed: fp32, "),
        ({"dtype": "fp32"}, "dtype = 'fp32': h100 has no matrix rate for it; allowed: bf16, fp16, "),
        ({"fidelity": "exact"}, "fidelity = 'exact': not known; allowed: analytical, tile, burst"),
        ({"chip": "h1000"}, "did you mean 'h100'?"),
        ({"m": 1 << 20, "n": 1 << 20, "k": 64}, "its tensors take 2048.25 GiB; allowed on h100: 80 GiB"),
    ],
)
def test_wrong_gemms_are_refused(arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError) as error:
        simulate_gemm(**{"chip": "h100", "m": 32, "n": 32, "k": 32, **arguments})
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"phase": "train"}, "phase = 'train': not known; allowed: prefill, decode"),
        ({"schedule": "ring"}, "schedule = 'ring': not known; allowed: flash, unfused"),
        ({"kv_heads": 3}, "kv_heads = 3: must divide q_heads = 4"),
        ({"head_dim": 0}, "head_dim = 0: must be at least 1"),
        ({"head_dim": float("nan")}, "head_dim = nan: must be a whole number"),
        ({"q_len": 97}, "q_len = 97: must be at most kv_len = 96"),
        ({"phase": "decode", "q_len": 2}, "q_len = 2: must be 1 in decode"),
        ({"batch": 1 << 20}, "its tensors take 72.00 GiB; allowed on h100: 64 GiB"),
    ],
)
def test_wrong_attention_is_refused(arguments: dict[str, Any], expected: str) -> None:
    chip = load_chip("h100", ["memory.capacity_gib=64"])
    with pytest.raises(InputError) as error:
        simulate_attention(**{"chip": chip, "phase": "prefill", **SMALL_ATTENTION, **arguments})
    assert expected in str(error.value)
