"""Every mistake in a model's config is one line that names the file and the key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workloads.models.presets
from uarch.errors import InputError
from workloads.models.architectures import ARCHITECTURES, model_of_config
from workloads.models.presets import load_model

MODELS = Path(workloads.models.presets.__file__).parent / "configs"
CONFIGS = {
    name: json.loads((MODELS / f"{name}.json").read_text()) for name in ("llama-3-8b", "bloom-176b", "gpt-3-175b")
}
REQUIRED = {
    "llama-3-8b": [
        "architectures",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "vocab_size",
        "rms_norm_eps",
        "hidden_act",
    ],
    "bloom-176b": ["architectures", "hidden_size", "n_layer", "n_head", "vocab_size", "layer_norm_epsilon"],
    "gpt-3-175b": [
        "architectures",
        "n_embd",
        "n_layer",
        "n_head",
        "n_positions",
        "vocab_size",
        "layer_norm_epsilon",
        "activation_function",
    ],
}
KEYS = [(name, key) for name, keys in REQUIRED.items() for key in keys]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def message_of(config: dict[str, Any]) -> str:
    with pytest.raises(InputError) as caught:
        model_of_config(config, "custom", "custom.json")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("custom.json: ")
    return message


def file_message_of(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_model(str(path))
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize(("name", "key"), KEYS)
def test_a_missing_key_is_named(name: str, key: str) -> None:
    config = {other: value for other, value in CONFIGS[name].items() if other != key}
    assert message_of(config).startswith(f"custom.json: {key} is missing")


@pytest.mark.parametrize(("name", "key"), KEYS)
@pytest.mark.parametrize("value", ["many", -1, 0, True, 1e30, float("nan"), [[]], {}])
def test_a_wrong_value_is_named(name: str, key: str, value: Any) -> None:
    assert f"{key}" in message_of({**CONFIGS[name], key: value})


@settings(deadline=None)
@given(st.sampled_from(KEYS), JSON_VALUES)
def test_no_value_ends_in_anything_but_a_model_or_one_line(name_and_key: tuple[str, str], value: Any) -> None:
    name, key = name_and_key
    try:
        model = model_of_config({**CONFIGS[name], key: value}, "custom", "custom.json")
    except InputError as error:
        outcome = str(error)
    else:
        outcome = key if model.total_parameters > 0 else ""
    assert "\n" not in outcome
    assert key in outcome or "divide" in outcome


def test_an_unknown_architecture_is_refused_with_the_known_ones() -> None:
    message = message_of({**CONFIGS["llama-3-8b"], "architectures": ["FalconForCausalLM"]})
    assert "architectures = 'FalconForCausalLM'" in message
    assert all(known in message for known in ARCHITECTURES)
    assert "did you mean 'LlamaForCausalLM'" in message_of(
        {**CONFIGS["llama-3-8b"], "architectures": ["LLamaForCausalLM"]}
    )


@pytest.mark.parametrize(
    ("name", "change", "part"),
    [
        ("llama-3-8b", {"num_key_value_heads": 5}, "num_key_value_heads = 5: must divide num_attention_heads = 32"),
        ("llama-3-8b", {"num_attention_heads": 24}, "num_attention_heads = 24: must divide the hidden size 4096"),
        ("llama-3-8b", {"hidden_act": "relu"}, "hidden_act = 'relu': must be 'silu', 'swish'"),
        ("bloom-176b", {"n_head": 100}, "n_head = 100: must divide the hidden size 14336"),
        ("gpt-3-175b", {"n_head": 100}, "n_head = 100: must divide the hidden size 12288"),
        ("gpt-3-175b", {"activation_function": "relu"}, "activation_function = 'relu'"),
    ],
)
def test_values_that_do_not_go_together(name: str, change: dict[str, Any], part: str) -> None:
    config = {**CONFIGS[name], **change}
    if change == {"num_attention_heads": 24}:
        config["num_key_value_heads"] = 8
    assert part in message_of(config)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "not valid JSON"),
        (b'{"hidden_size": 4096,}', "not valid JSON"),
        (b"[1, 2]", "must hold a JSON object, not [1, 2]"),
        (b"\xff\xfe", "not a text file in UTF-8"),
        (b"1" * 5000, "not valid JSON"),
        (b"[" * 200_000, "not valid JSON"),
        (b"{}", "architectures is missing"),
    ],
)
def test_a_file_that_is_no_config(tmp_path: Path, content: bytes, part: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    assert part in file_message_of(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "cannot be read" in file_message_of(tmp_path / "absent.json")
    (tmp_path / "folder.json").mkdir()
    assert "cannot be read" in file_message_of(tmp_path / "folder.json")


@pytest.mark.parametrize("name", ["a\nb.json", "a\0b.json", "a" * 5000, "a" * 5000 + ".json", ""])
def test_a_strange_path_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError) as caught:
        load_model(name and str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_file_name_with_a_line_break_is_shown_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a\nb.json"
    path.write_text(json.dumps({**CONFIGS["llama-3-8b"], "architectures": ["Other"]}))
    with pytest.raises(InputError, match=r"a b.json: architectures = 'Other': not supported; allowed: "):
        load_model(str(path))


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"did you mean 'llama-3-70b'\? allowed: bloom-176b, deepseek-v2, "):
        load_model("llama3-70b")
