"""The list of masks: every form that help texts show can be written, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kernels.masks.registry import ALLOWED, KINDS, check_mask, parse_mask
from uarch.errors import InputError

NUMBERS = {
    "W": "32",
    "S": "4",
    "V": "8",
    "PAGE": "16",
    "BUDGET": "64",
    "BLOCK": "16",
    "SHARE": "0.5",
    "STRIDE": "8",
    "SELECTION": "32",
    "COUNT": "4",
    "WINDOW": "64",
}
FILES = {"blocks": {"block": 16, "rows": [[0], [0, 1]]}, "tree": {"parents": [-1, 0]}}


@pytest.mark.parametrize("usage", ALLOWED.split(", "))
def test_every_form_can_be_written(usage: str, tmp_path: Path) -> None:
    """Names of numbers are replaced by numbers, FILE by a file of the kind."""
    kind, _, arguments = usage.partition(":")
    file = tmp_path / "mask.json"
    file.write_text(json.dumps(FILES.get(kind, {})))
    values = [str(file) if name == "FILE" else NUMBERS[name] for name in arguments.split(",") if name]
    mask = parse_mask(":".join([kind, ",".join(values)] if values else [kind]))
    assert type(mask).__name__ == KINDS[kind].class_name or usage == "blocks:BLOCK,SHARE"


@pytest.mark.parametrize("text", ["", "windows:4", "window", "causal:1", ":4", "tree", "blocks"])
def test_other_forms_are_refused_with_the_list(text: str) -> None:
    with pytest.raises(InputError, match="not known; allowed: causal, full, window:W"):
        parse_mask(text)


@pytest.mark.parametrize(
    "text", ["window:", "window:x", "sink:4", "vslash:1,2,3", "topk:16,60", "nsa:1", "tree:", "blocks:"]
)
def test_arguments_are_checked(text: str) -> None:
    with pytest.raises(InputError):
        parse_mask(text)


def test_causal_attention_has_no_problem() -> None:
    check_mask(None, None, 4, 8, "prefill")
    with pytest.raises(InputError, match="mask = 'topk:16,64': pages are selected for single new tokens, in decode"):
        check_mask(parse_mask("topk:16,64"), "topk:16,64", 4, 8, "prefill")
