"""Files that are not what a command takes: refused with one line, whatever is in them and whatever the command."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.synthetic_trace import make_trace
from uarch.cli import run

GEMM = ["kernel", "gemm", "-m", "64", "-n", "64", "-k", "64", "--fidelity", "analytical"]
MODEL = ["run", "--phase", "decode", "--batch", "1", "--seq", "64", "--fidelity", "analytical"]
HEADS = ["--batch", "1", "--q-heads", "1", "--kv-heads", "1", "--head-dim", "64", "--fidelity", "analytical"]
PREFILL = ["kernel", "attention", "--chip", "h100", "--phase", "prefill", *HEADS]
MOE = ["kernel", "moe", "--chip", "h100", "--fidelity", "analytical", "--tokens", "8", "--experts", "4", "--top-k", "1"]
MOE += ["--hidden", "64", "--intermediate", "64"]
TRACES = [
    ["trace", "show", "FILE"],
    ["trace", "check", "FILE"],
    ["trace", "diff", "FILE", "FILE"],
    ["plot", "FILE", "-o", "out.png"],
    ["plot", "FILE", "FILE", "-o", "out.png"],
    ["report", "FILE", "-o", "out.html"],
    ["export", "FILE", "-o", "out.json"],
    ["export", "FILE", "--format", "csv"],
]
TEXTS = [
    [*GEMM, "--chip", "FILE"],
    [*GEMM, "--chip", "h100", "--energy", "FILE"],
    ["chips", "FILE"],
    ["models", "FILE"],
    ["energy", "FILE"],
    [*MODEL, "--chip", "h100", "--model", "FILE"],
    [*MODEL, "--chip", "h100", "--model", "llama-68m", "--stack", "FILE"],
    [*PREFILL, "--kv-len", "64", "--mask", "blocks:FILE"],
    [*PREFILL, "--kv-len", "64", "--mask", "tree:FILE"],
    [*PREFILL, "--contexts", "FILE"],
    ["kernel", "verify", "--chip", "h100", *HEADS, "--draft", "tree:FILE", "--contexts", "constant:64"],
    [*MOE, "--expert-load", "FILE"],
    ["dram", "--standard", "hbm3-6400", "--trace", "FILE"],
    ["scalesim", "--config", "FILE", "--topology", "FILE", "-o", "out.csv"],
    ["import", "llmcompass", "FILE", "-o", "out.toml"],
    ["import", "accelergy", "FILE", "-o", "out.toml"],
    ["bench-model", "--model", "FILE"],
    ["bench-model", "--model", "roofline", "--suite", "FILE"],
    ["validate", "--reference", "FILE"],
    ["experiment", "FILE", "-o", "out"],
]
CONTENTS = {
    "empty": b"",
    "binary": bytes(range(256)) * 8,
    "number": b"17\n",
    "list": b"[[1, 2], {}]\n",
    "deep": b"[" * 5000,
    "words": "Lörem ipsum, dolor = sit\n".encode("latin-1"),
}


def assert_refused(arguments: list[str], path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line on standard error, nothing else, and no new files."""
    before = sorted(entry.name for entry in path.parent.iterdir())
    code = run([argument.replace("FILE", str(path)) for argument in arguments])
    printed = capsys.readouterr()
    assert code == 2, (arguments, path.name, printed)
    assert printed.err.count("\n") == 1, printed.err
    assert printed.err.startswith("error: ")
    assert printed.out == ""
    assert sorted(entry.name for entry in path.parent.iterdir()) == before


def suffix_of(arguments: list[str]) -> str:
    """What files of that kind are called, for commands that look at the name."""
    text = " ".join(arguments)
    for suffix, words in {
        ".csv": ("bench-model", "validate"),
        ".json": ("--model FILE", "models", "blocks", "tree"),
    }.items():
        if any(word in text for word in words):
            return suffix
    return ".txt" if "contexts" in text or "dram" in text or "--expert-load" in text else ".toml"


@pytest.mark.parametrize("arguments", TEXTS, ids=lambda arguments: " ".join(arguments)[-40:])
def test_foreign_texts(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in CONTENTS.items():
        if name == "number" and any(word in arguments for word in ("--contexts", "--expert-load")):
            continue  # these take a number a line
        path = tmp_path / f"{name}{suffix_of(arguments)}"
        path.write_bytes(content)
        assert_refused(arguments, path, capsys)
    (tmp_path / "folder.toml").mkdir()
    assert_refused(arguments, tmp_path / "folder.toml", capsys)
    assert_refused(arguments, tmp_path / "missing.toml", capsys)


@pytest.mark.parametrize("arguments", TRACES, ids=" ".join)
def test_damaged_traces(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_trace(n_cores=1).save(tmp_path / "run.h5")
    whole = (tmp_path / "run.h5").read_bytes()
    contents = {**CONTENTS, "cut": whole[: len(whole) // 2], "head": whole[:100]}
    for name, content in contents.items():
        path = tmp_path / f"{name}.h5"
        path.write_bytes(content)
        assert_refused(arguments, path, capsys)
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["layers"] = np.zeros(3)
    assert_refused(arguments, tmp_path / "foreign.h5", capsys)
    for spoil in ("attribute", "column", "version"):
        path = tmp_path / f"{spoil}.h5"
        path.write_bytes(whole)
        with h5py.File(path, "r+") as file:
            if spoil == "attribute":
                del file.attrs["chip"]
            elif spoil == "version":
                file.attrs["schema_version"] = 99
            else:
                del file["layers"]
        assert_refused(arguments, path, capsys)
    assert_refused(arguments, tmp_path / "missing.h5", capsys)
