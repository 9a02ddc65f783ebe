"""Software stacks: the shipped ones, and every mistake in a file as one line."""

from __future__ import annotations

import pickle
import tomllib
from pathlib import Path

import pytest

import workloads.settings.stack
from uarch.errors import InputError
from workloads.models.presets import load_model
from workloads.settings.stack import OP_KINDS, load_stack, stack_names

EAGER = (Path(workloads.settings.stack.__file__).parent / "stacks" / "eager.toml").read_text()


def message_of(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_stack(str(path))
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_the_shipped_stacks() -> None:
    assert stack_names() == ["eager", "graph"]
    assert all(load_stack(name).name == name and load_stack(name).fused_residual for name in stack_names())


def test_graph_launches_cost_the_same_for_every_kind() -> None:
    assert {load_stack("graph").launch_overhead_seconds(kind) for kind in OP_KINDS} == {1e-6}


def test_eager_overheads_add_about_20_ms_to_a_pass_through_bloom() -> None:
    """SPAD's facts; a layer is 4 matmuls with weights, Q K^T, P V, a softmax, 2 norms, a GELU and 2 all-reduces.

    70 x (6 x 21 + 12 + 2 x 45 + 45 + 2 x 5.9) us = 19.9 ms.
    """
    layer = ["gemm"] * 4 + ["attention"] * 2 + ["softmax", "norm", "norm", "activation", "all_reduce", "all_reduce"]
    stack = load_stack("eager")
    seconds = load_model("bloom-176b").n_layers * sum(map(stack.launch_overhead_seconds, layer))
    assert seconds == pytest.approx(19.936e-3)


def test_gap_and_overhead_add_up(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(EAGER.replace("launch_seconds = 0.0", "launch_seconds = 3e-6"))
    mine, eager = load_stack(str(path)), load_stack("eager")
    for kind in OP_KINDS:
        assert mine.launch_overhead_seconds(kind) == pytest.approx(3e-6 + eager.launch_overhead_seconds(kind))


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InputError, match="operator kind = 'gem': did you mean 'gemm'"):
        load_stack("eager").launch_overhead_seconds("gem")


def test_a_stack_is_a_value() -> None:
    stack = load_stack("eager")
    assert {stack: 1}[load_stack("eager")] == 1
    assert pickle.loads(pickle.dumps(stack)) == stack
    assert stack != load_stack("graph")


def test_a_kind_that_a_file_leaves_out_costs_its_default(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("\n".join(line for line in EAGER.splitlines() if not line.startswith("norm = ")))
    mine, eager = load_stack(str(path)), load_stack("eager")
    changed = {kind for kind in OP_KINDS if mine.launch_overhead_seconds(kind) != eager.launch_overhead_seconds(kind)}
    assert changed == {"norm"}
    assert mine.launch_overhead_seconds("norm") == mine.overhead_seconds.default == 1.2e-5


def test_a_default_is_needed_and_is_no_kind(tmp_path: Path) -> None:
    without = "\n".join(line for line in EAGER.splitlines() if not line.startswith("default = "))
    assert "overhead_seconds.default is missing" in message_of(tmp_path / "mine.toml", without)
    with pytest.raises(InputError, match="operator kind = 'default'"):
        load_stack("eager").launch_overhead_seconds("default")


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("gemm = 2.1e-5", "gemm = -1.0", "overhead_seconds.gemm = -1.0: must be greater than or equal to 0"),
        ("gemm = 2.1e-5", 'gemm = "slow"', "overhead_seconds.gemm = 'slow'"),
        ("gemm = 2.1e-5", "gemm = nan", "overhead_seconds.gemm = nan"),
        ("gemm = 2.1e-5", "gemm = 2.1e-5\nmoe = 1.0", "overhead_seconds.moe is not a field"),
        ("launch_seconds = 0.0", "launch_seconds = 21.0", "launch_seconds = 21.0: must be less than or equal to 1"),
        ("launch_seconds = 0.0", "launch = 0.0", "launch_seconds is missing (and 1 more)"),
        ("fused_residual = true", "fused_residual = 1", "fused_residual = 1"),
        ("[overhead_seconds]", "[overheads]", "overhead_seconds is missing"),
        ("[overhead_seconds]", "[overhead_seconds", "not valid TOML"),
    ],
)
def test_a_mistake_in_a_file_is_named(tmp_path: Path, old: str, new: str, part: str) -> None:
    assert old in EAGER
    assert part in message_of(tmp_path / "mine.toml", EAGER.replace(old, new))


def test_an_unknown_stack_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="stack 'graphs': no such preset or TOML file; did you mean 'graph'"):
        load_stack("graphs")


@pytest.mark.parametrize("name", stack_names())
def test_every_overhead_has_a_source(name: str) -> None:
    """A comment on the line, on the table, or no cost at all."""
    text = (Path(workloads.settings.stack.__file__).parent / "stacks" / f"{name}.toml").read_text()
    assert tomllib.loads(text)["source"]
    costs = [
        line for line in text.splitlines() if line.startswith(("default", *OP_KINDS)) and not line.endswith("= 0.0")
    ]
    assert all("#" in line for line in costs)
