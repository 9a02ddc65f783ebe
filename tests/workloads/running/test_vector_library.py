"""Model runs use the vector kernels of the stack's library: those that validation compares with measured times."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.tiny_model import write_tiny_llama
from uarch.chip_file import load_chip
from uarch.errors import InputError
from workloads.running.runner import simulate
from workloads.settings.stack import Stack, load_stack
from workloads.single.vector import simulate_vector_kernel

A100 = load_chip("a100", ["core.count=8"])
ROWS, HIDDEN = 256, 2048


def write_small_gpt2(folder: Path) -> str:
    """Write a GPT-2 of two layers, with layer norms and GELU; returns its file."""
    path = folder / "config.json"
    sizes = {"n_embd": HIDDEN, "n_layer": 2, "n_head": 16, "n_positions": ROWS, "vocab_size": 256}
    options = {"layer_norm_epsilon": 1e-5, "activation_function": "gelu"}
    path.write_text(json.dumps({"architectures": ["GPT2LMHeadModel"], **sizes, **options}))
    return str(path)


def with_library(library: str, **changes: object) -> Stack:
    return load_stack("graph").model_copy(update={"vector_kernels": library, **changes})


def seconds_by_kind(model: str, stack: Stack, phase: str = "prefill") -> dict[str, float]:
    rollup = simulate(A100, model, phase, batch=1, seq=ROWS, stack=stack).rollup
    return {name[5:-8]: float(rollup[name]) for name in rollup if name.startswith("kind_")}


def test_shipped_stacks_name_the_library_that_validation_takes_by_default() -> None:
    assert {load_stack(name).vector_kernels for name in ("graph", "eager")} == {"vectors"}
    assert Stack.model_fields["vector_kernels"].default == "vectors"


def test_a_norm_in_a_model_takes_as_long_as_the_validated_kernel(tmp_path: Path) -> None:
    """Five norms of 256 x 2048 that find their rows in L2, without fused residuals, each 1 us after the one before."""
    found = seconds_by_kind(write_small_gpt2(tmp_path), with_library("vectors", fused_residual=False))["norm"]
    kernel = simulate_vector_kernel(A100, "layernorm", ROWS, HIDDEN, residency="inputs", library="vectors").seconds
    ideal = simulate_vector_kernel(A100, "layernorm", ROWS, HIDDEN, residency="inputs").seconds
    assert found == pytest.approx(5 * (kernel + 1e-6), rel=0.1)
    assert kernel > 1.2 * ideal


def test_kernels_that_a_library_has_are_slower_and_others_stay(tmp_path: Path) -> None:
    model = write_small_gpt2(tmp_path)
    ideal, vectors = (seconds_by_kind(model, with_library(name)) for name in ("ideal", "vectors"))
    slower = {kind for kind in ideal if vectors[kind] > 1.01 * ideal[kind]}
    assert slower == {"norm", "activation"}
    assert vectors["attention"] == pytest.approx(ideal["attention"], rel=0.02)


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_the_library_of_one_element_a_thread_runs_a_llama(phase: str, tmp_path: Path) -> None:
    model = str(write_tiny_llama(tmp_path))
    ideal, rows = (seconds_by_kind(model, with_library(name), phase) for name in ("ideal", "rows"))
    assert all(rows[kind] > ideal[kind] for kind in ("norm", "rope", "activation"))


def test_an_unknown_library_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="vector library 'vector'"):
        simulate(A100, str(write_tiny_llama(tmp_path)), "prefill", batch=1, seq=8, stack=with_library("vector"))
