"""A mixture of experts alone: work, bytes, load imbalance and parallelism show in its time."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.small_programs import small_chip
from uarch.errors import InputError
from workloads.single.moe import MoeRun, simulate_moe

SIZES: dict[str, Any] = {"tokens": 64, "experts": 8, "top_k": 2, "hidden": 256, "ffn": 192}


def run(**options: Any) -> MoeRun:
    return simulate_moe(small_chip(), **{**SIZES, **options})


def part(moe: MoeRun, name: str) -> Any:
    return next(program for program in moe.kernel.programs if program.name == name)


@pytest.mark.compiled("too large for the interpreter")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shared_ffn": 64, "expert_load": "zipf:2"},
        {"tokens": 1},
        {"ep": 4, "weight_dtype": "int4", "group_size": 64},
        {"tp": 2, "ep": 2, "weight_sparsity": "2:4"},
        {"dtype": "fp8", "weight_dtype": "fp8", "group_size": 128, "hidden": 512},
    ],
    ids=str,
)
def test_no_faster_than_the_roofline(options: dict[str, Any]) -> None:
    kernel = run(**options).kernel
    assert kernel.seconds >= kernel.roofline_seconds
    assert kernel.seconds == pytest.approx(sum(kernel.seconds_by_cause.values()))
    assert run(**options, fidelity="analytical").kernel.flops == kernel.flops


def test_useful_work_is_that_of_copies_shared_experts_and_router() -> None:
    """64 x 2 copies and 64 tokens through three matrices each, 64 scores of 8 experts."""
    flops = 2 * (64 * 2 * 3 * 256 * 192 + 64 * 3 * 256 * 64 + 64 * 256 * 8)
    assert run(shared_ffn=64).kernel.flops == flops


def test_expert_parallelism_adds_an_exchange_and_splits_the_weights() -> None:
    alone, spread = run(expert_load="balanced"), run(ep=4, expert_load="balanced")
    names = [program.name for program in spread.kernel.programs]
    assert names == [
        *("router", "top_k", "permute", "dispatch", "experts_in", "expert_activation", "experts_out"),
        *("combine", "unpermute"),
    ]
    assert [len(moe.expert_rows) for moe in (alone, spread)] == [8, 2]
    assert part(spread, "experts_in").seconds < part(alone, "experts_in").seconds


@pytest.mark.compiled("too large for the interpreter")
def test_imbalance_over_chips_takes_time() -> None:
    """The busiest of four chips computes more rows than the mean; a balanced load has no such chip."""
    sizes = {"ep": 4, "tokens": 2048, "ffn": 512}
    even, skewed = run(**sizes, expert_load="balanced"), run(**sizes, expert_load="zipf:2")
    assert even.imbalance == 1
    assert skewed.imbalance > 1.3
    assert part(skewed, "experts_in").seconds > 1.2 * part(even, "experts_in").seconds


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"top_k": 9}, "top_k = 9: must be at most experts = 8"),
        ({"tokens": 0}, "tokens = 0: must be at least 1"),
        ({"ep": 3, "tokens": 66}, "ep = 3: moe has 8 routed experts; allowed: divisors of that"),
        ({"ep": 4, "tokens": 66}, "tokens = 66: must be a multiple of ep = 4"),
        ({"tp": 5}, "tp = 5: does not divide experts.ffn = 192"),
        ({"shared_ffn": -1}, "shared_ffn = -1: must be at least 1"),
        ({"expert_load": "odd"}, "expert_load = 'odd': not known"),
        ({"weight_dtype": "fp32"}, "weight_dtype = 'fp32'"),
        ({"experts": 1024, "hidden": 1 << 14, "ffn": 1 << 14}, "its tensors take"),
    ],
)
def test_wrong_input_is_refused(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError) as caught:
        run(**options)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
