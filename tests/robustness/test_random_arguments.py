"""Random values for options, by typer's own parameters: each command line ends with a result, or one line and exit code 2."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Literal, get_args, get_origin

import pytest
import typer

from tests.robustness.cases import named, numbers, random_of
from uarch.cli import build_app, commands, run

pytestmark = pytest.mark.once("arguments: little of it is jitted")
KERNEL = ["--chip", "h100", "--fidelity", "analytical"]
HEADS = ["--batch", "1", "--q-heads", "2", "--kv-heads", "1", "--head-dim", "16"]
BASES = (
    ["chips"],
    ["models"],
    ["energy"],
    ["kernel", "gemm", *KERNEL, "-m", "16", "-n", "16", "-k", "16"],
    ["kernel", "attention", *KERNEL, *HEADS, "--phase", "prefill", "--kv-len", "16"],
    ["systolic", "--rows", "4", "--cols", "4", "-m", "8", "-n", "8", "-k", "8"],
    ["dram", "--standard", "hbm3-6400", "--pattern", "random", "--requests", "100"],
)
WHOLE = ("-1", "0", "1", "3", "64", "2147483648", "9223372036854775808", "9" * 5000, "1e3", "x", "")
TEXTS = (
    "",
    "x",
    "[" * 3000,
    "a=b",
    "core.count=0",
    "l2.bytes=[[",
    "é\udcff",
    "../..",
    "none",
    "h100",
    "/dev/null",
    "fp16",
)


def _leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    below = getattr(command, "commands", None)
    if not below:
        yield path, command
    for name, each in (below or {}).items():
        yield from _leaves(each, (*path, name))


COMMANDS = dict(_leaves(typer.main.get_command(build_app(commands()))))


def _value(random: Random, kind: Any) -> str:
    if get_origin(kind) is Literal:
        return str(random.choice([*get_args(kind), "x"]))
    parts = [part for part in get_args(kind) if part is not type(None)]
    if parts:
        return _value(random, random.choice(parts))
    return random.choice(WHOLE if kind in (int, float) else TEXTS)


def arguments_of(random: Random) -> list[str]:
    """Draw a command line that works, with one to three options replaced, added or left out."""
    arguments = list(random.choice(BASES))
    path = tuple(arguments[: 2 if arguments[0] == "kernel" else 1])
    options = [each for each in COMMANDS[path].params if each.opts[0].startswith("-")]
    for _ in range(random.randint(1, 3)):
        option = random.choice(options)
        flag = random.choice(option.opts)
        arguments.append(flag)
        if not option.is_flag:
            arguments.append(_value(random, option.type_descriptor.annotation))
    if random.random() < 0.1:
        del arguments[random.randrange(1, len(arguments))]
    return arguments


def _refused(name: str) -> None:
    raise AssertionError(f"{name} in JSON")


def test_every_command_line_ends_with_a_result_or_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    for number in numbers(100):
        arguments = arguments_of(random_of("arguments", number))
        code = run(arguments)
        printed = capsys.readouterr()
        case = f"{named('arguments', number)}: {[each[:80] for each in arguments]}: {printed.err[-600:]}"
        assert code in (0, 2), case
        if code == 2:
            assert printed.err.startswith("error: "), case
            assert printed.err.count("\n") == 1, case
        elif "--json" in arguments and "--help" not in arguments and "-h" not in arguments:
            json.loads(printed.out, parse_constant=_refused)
        assert [path.name for path in tmp_path.iterdir()] == ["in"], case
