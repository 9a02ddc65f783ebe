"""The command line's frame: exit codes, one line per mistake, JSON on standard output, and a quick ``--help``."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

import uarch
import uarch.cli
from uarch.chip.schema import Chip
from uarch.chip_file import load_chip, preset_names
from uarch.commands.output import emit, shares
from uarch.commands.sections import Section
from uarch.errors import InputError

pytestmark = pytest.mark.once("commands: no kernel that other tests do not run")

ROOT = Path(uarch.__file__).parent.parent


def python(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    options = {"stdout": subprocess.PIPE, **options}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, stderr=subprocess.PIPE, text=True, check=False, **options
    )


def json_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert uarch.cli.run([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    payload = json.loads(captured.out)
    assert isinstance(payload, dict)
    return payload


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert uarch.cli.run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_chips_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    chips = json_of(capsys, "chips")["chips"]
    assert [chip["name"] for chip in chips] == preset_names()
    for chip in chips:
        assert chip["peak_flops"]["fp16"] == load_chip(chip["name"]).peak_flops("fp16")


def test_one_chip_as_json_is_the_chip_and_its_peaks(capsys: pytest.CaptureFixture[str]) -> None:
    payload = json_of(capsys, "chips", "h100", "--set", "core.count=66", "--set", "memory.capacity_gib=40")
    chip = load_chip("h100", ["core.count=66", "memory.capacity_gib=40"])
    assert Chip.model_validate_json(json.dumps(payload["chip"])) == chip
    expected = {
        "name": "h100",
        "peak_flops": {dtype: chip.peak_flops(dtype) for dtype in chip.dtypes},
        "peak_vector_flops": chip.peak_vector_flops,
        "l2_bytes_per_second": chip.l2_bytes_per_second,
        "dram_bytes_per_second": 3.352e12,
        "on_chip_bytes": 66 * 256 * 1024 + 50 * 2**20,
        "capacity_bytes": 40 * 2**30,
        "usable_bytes": 36 * 2**30,
        "tdp_watts": 700,
    }
    assert {key: payload[key] for key in expected} == expected


def test_chips_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert uarch.cli.run(["chips"]) == 0
    table = capsys.readouterr().out
    for text in [*preset_names(), "16 x 32 WS", "989 TFLOP/s", "64 GB GDDR7", "3.35 TB/s", "596 W"]:
        assert text in table
    assert uarch.cli.run(["chips", "spad-prefill"]) == 0
    table = capsys.readouterr().out
    for text in ["core.systolic.rows", "macs_per_pe_per_cycle.fp16", "gddr7-32000", "usable_bytes"]:
        assert text in table


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["chips", "h10O"], "did you mean 'h100'? allowed: a100, a100-pcie, "),
        (["chips", "absent.toml"], "absent.toml: cannot be read: No such file or directory"),
        (["chips", "h100", "--set", "core.count=0"], "core.count = 0: must be greater than or equal to 1"),
        (["chips", "h100", "--set", "core.cuont=1"], "did you mean 'count'?"),
        (["chips", "--set", "core.count=1"], "needs a chip"),
        (["chisp"], "uarch chisp: no such command; did you mean 'chips'? allowed: ablate, bench-model, chips, "),
        (["chips", "--jason"], "No such option: --jason"),
        (["chips", "h100", "a100"], "unexpected extra argument"),
    ],
)
def test_wrong_input_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str) -> None:
    assert expected in error_of(capsys, *arguments)


def test_each_command_alone_is_the_one_among_all() -> None:
    """The application is built with the called command only: by the names under which all of them are registered."""
    registered = typer.main.get_group(uarch.cli.build_app(uarch.cli.commands())).commands
    assert len(registered) == len(uarch.cli.commands())
    for name, command in registered.items():
        (module,) = uarch.cli._needed([name, "--help"])
        (alone,) = typer.main.get_group(uarch.cli.build_app([module])).commands.values()
        assert (alone.name, len(alone.params)) == (name, len(command.params))
    assert uarch.cli._needed(["no-such-command"]) == uarch.cli._needed(["--help"]) == uarch.cli._needed([])


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def build_app(_commands: object) -> Callable[..., None]:
        app = typer.Typer()

        @app.command()
        def fail() -> None:
            raise error

        return app

    monkeypatch.setattr(uarch.cli, "build_app", build_app)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (InputError("m = -1: must\nbe positive"), "error: m = -1: must be positive\n"),
        (OSError(errno.ENOSPC, "No space left on device", "run.h5"), "error: run.h5: No space left on device\n"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "a/b.h5"),
            "error: a/b.h5: No such file or directory\n",
        ),
    ],
)
def test_mistakes_exit_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, expected: str
) -> None:
    fail_with(monkeypatch, error)
    assert uarch.cli.run([]) == 2
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("defect"), ValueError("defect"), OSError("defect"), KeyError("defect")]
)
def test_defects_exit_with_70_and_one_line_that_names_the_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, error: Exception
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    fail_with(monkeypatch, error)
    assert uarch.cli.run([]) == 70
    printed = capsys.readouterr()
    (log,) = tmp_path.glob("*/error.log")
    assert printed.out == ""
    said = f"internal error: {type(error).__name__}: {error}; please report with its input and {log}: uarch\n"
    assert printed.err == said
    assert log.read_text(encoding="utf-8").startswith("uarch\n\nTraceback (most recent call last)")


def test_too_little_memory_is_no_defect(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fail_with(monkeypatch, MemoryError())
    assert uarch.cli.run([]) == 2
    assert capsys.readouterr().err.startswith("error: takes more memory than")


def test_whole_numbers_have_an_upper_limit_in_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Also those with thousands of digits, which Python itself refuses."""
    for value in (str((1 << 53) + 1), "9" * 5000):
        assert uarch.cli.run(["dram", "--standard", "hbm3-6400", "--pattern", "random", "--requests", value]) == 2
        assert "--requests" in capsys.readouterr().err


def test_an_interrupt_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, KeyboardInterrupt())
    assert uarch.cli.run([]) == 130


def test_help_is_quick_and_names_the_commands() -> None:
    """No module that takes long to load is imported to print the help, and none by ``import uarch``."""
    program = (
        "import sys, uarch, uarch.cli; code = uarch.cli.run(['--help']); "
        "heavy = [name for name in ('numba', 'numpy', 'h5py', 'matplotlib') if name in sys.modules]; "
        "print(heavy, file=sys.stderr); sys.exit(code)"
    )
    result = python("-c", program)
    assert (result.returncode, result.stderr) == (0, "[]\n")
    for name in typer.main.get_group(uarch.cli.build_app(uarch.cli.commands())).commands:
        assert f" {name} " in result.stdout


def test_help_shows_commands_by_section_in_the_order_of_the_sections() -> None:
    shown = python("-m", "uarch", "--help").stdout
    places = [shown.index(f"─ {section} ─") for section in Section]
    assert places == sorted(places)
    assert places[0] < shown.index(" chips ") < places[1] < shown.index(" run ") < places[2]


def test_a_module_of_the_commands_folder_that_registers_something_is_a_command() -> None:
    """No list names the commands: those of the folder are read with the eye of this test, which needs no import."""
    folder = Path(uarch.cli.__file__).parent / "commands"
    sources = [*folder.glob("*.py"), *folder.glob("*/__init__.py")]
    named = {path for path in sources if re.search(r"^def register\(|import register ", path.read_text("utf-8"), re.M)}
    assert len(named) == len(uarch.cli.commands())


def test_python_m_uarch_without_arguments_and_with_version() -> None:
    assert "chips" in python("-m", "uarch").stdout
    result = python("-m", "uarch", "--version")
    assert (result.returncode, result.stdout) == (0, f"uarch {uarch.__version__}\n")


def test_exit_code_and_stderr_of_the_process() -> None:
    result = python("-m", "uarch", "chips", "nothing")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: chip 'nothing'")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device without space (Linux)")
def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        result = python("-m", "uarch", "chips", "--json", stdout=full)
    assert (result.returncode, result.stderr) == (2, "error: output: No space left on device\n")


def test_a_reader_that_leaves_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = python("-m", "uarch", "chips", "--json", stdout=writer)
    finally:
        os.close(writer)
    assert (result.returncode, result.stderr) == (1, "")


def test_emit_prints_numpy_values_and_refuses_what_is_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"cycles": np.int64(3), "stalls": np.arange(2.0)}, True, lambda: None)
    assert json.loads(capsys.readouterr().out) == {"cycles": 3, "stalls": [0.0, 1.0]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        emit({"seconds": math.nan}, True, lambda: None)
    with pytest.raises(TypeError, match="not JSON"):
        emit({"chip": object()}, True, lambda: None)


def test_shares_are_ranked_and_small_ones_left_out() -> None:
    assert shares({"matrix": 1.0, "l2_noc": 2.98, "link": 0.02, "idle": 0.0}) == "l2 noc 74 %, matrix 25 %"
    assert shares({"matrix": 0.0}) == ""
