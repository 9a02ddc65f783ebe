"""``--replay``: simulated programs give the operator's result, faults are found, and what cannot be replayed is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from kernels.masks.score_masks import WindowMask
from kernels.program.tile_program import TileProgram
from uarch.chip_file import load_chip
from uarch.cli import run
from uarch.errors import InputError
from uarch.program.records import A
from workloads.running.kernel_trace import tracing_kernel
from workloads.single.attention import simulate_attention
from workloads.single.gemm import simulate_gemm
from workloads.single.replay import replay_attention, replay_gemm

CHIP = load_chip("h100", ["core.count=4"])
HEADS = {"q_heads": 4, "kv_heads": 2, "head_dim": 32}


def gemm_programs(m: int, n: int, k: int, **options: Any) -> tuple[TileProgram, ...]:
    with tracing_kernel() as seen:
        simulate_gemm(CHIP, m, n, k, fidelity="analytical", **options)
    return seen.programs


def attention_programs(phase: str, **options: Any) -> tuple[TileProgram, ...]:
    with tracing_kernel() as seen:
        simulate_attention(CHIP, phase, batch=2, **HEADS, fidelity="analytical", **options)
    return seen.programs


@pytest.mark.parametrize("batch", [1, 3])
def test_products_are_replayed(batch: int) -> None:
    found = replay_gemm(gemm_programs(100, 70, 300, batch=batch), batch=batch)
    assert found.is_right
    assert (found.elements, found.most_writes) == (batch * 100 * 70, 1)
    assert 0 < found.largest_error < 1e-11 < found.largest_value


@pytest.mark.parametrize("schedule", ["flash", "unfused"])
@pytest.mark.parametrize(("phase", "sizes"), [("prefill", {"q_len": 20, "kv_len": 50}), ("decode", {"kv_len": 90})])
def test_attention_is_replayed(schedule: str, phase: str, sizes: dict[str, int]) -> None:
    found = replay_attention(attention_programs(phase, **sizes, schedule=schedule), (4, 2), batch=2)
    assert found.is_right
    assert found.elements == 2 * sizes.get("q_len", 1) * 4 * 32


def test_attention_under_a_mask_over_latents_is_replayed() -> None:
    programs = attention_programs("prefill", kv_len=200, mask="window:30")
    assert replay_attention(programs, (4, 2), batch=2, mask=WindowMask(30)).is_right
    assert not replay_attention(programs, (4, 2), batch=2, mask=WindowMask(31)).is_right
    assert replay_attention(
        attention_programs("decode", kv_len=64, value_dim=16, latent=True), (4, 2), batch=2
    ).is_right


def test_a_fault_is_found() -> None:
    """Every block of the product loads the first rows of A."""
    (program,) = gemm_programs(512, 64, 64)
    operands = program.operands.copy()
    operands["row"][:, A] = 0
    assert replay_gemm([program]).is_right
    assert not replay_gemm([replace(program, operands=operands)]).is_right


def test_what_is_too_large_or_stored_otherwise_is_refused() -> None:
    with pytest.raises(InputError, match=r"multiply-accumulates; allowed: 200,000 and 8,589,934,592"):
        replay_gemm(gemm_programs(4096, 4096, 4096))
    with pytest.raises(InputError, match="plainly stored"):
        replay_gemm(gemm_programs(64, 64, 256, weight_dtype="int4", group_size=128))
    with pytest.raises(InputError, match="on pages"):
        replay_attention(attention_programs("decode", kv_len=64, page_size=16), (4, 2), batch=2)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--chip", "h100", "--set", "core.count=4", "--fidelity", "analytical", "--replay"]
    sizes = ["--phase", "decode", "--batch", "2", "--q-heads", "4", "--kv-heads", "2", "--head-dim", "32"]
    assert run(["kernel", "gemm", *small, "-m", "64", "-n", "64", "-k", "64", "--json"]) == 0
    replayed = json.loads(capsys.readouterr().out)["replay"]
    assert (replayed["is_right"], replayed["elements"]) == (True, 64 * 64)
    assert run(["kernel", "attention", *small, *sizes, "--kv-len", "64"]) == 0
    assert "the operator's result; largest error" in capsys.readouterr().out
    assert run(["kernel", "attention", *small, *sizes, "--kv-len", "64", "--page-size", "16"]) == 2
    assert "--replay: " in capsys.readouterr().err
