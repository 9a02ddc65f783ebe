"""Messages have one form, in the words of whoever reads them."""

from __future__ import annotations

import pickle

import pytest

from uarch.errors import InputError, must_be, only_with, unknown

FLAGS = {"draft": "--draft", "phase": "--phase", "ffn": "--intermediate", "mask": "--mask"}


@pytest.mark.parametrize(
    ("error", "python", "command_line"),
    [
        (
            must_be("draft", None, "given with phase = 'verify'"),
            "draft = None: must be given with phase = 'verify'",
            "--draft: must be given with --phase verify",
        ),
        (must_be("ffn", 0, "at least 1"), "ffn = 0: must be at least 1", "--intermediate 0: must be at least 1"),
        (
            only_with("mask", "sink:1, 2", "heads = 4"),
            "mask = 'sink:1, 2': allowed only with heads = 4",
            "--mask sink:1, 2: allowed only with heads = 4",
        ),
        (
            unknown("phase", "decoded", ("prefill", "decode")),
            "phase = 'decoded': not known; did you mean 'decode'? allowed: prefill, decode",
            "--phase decoded: not known; did you mean 'decode'? allowed: prefill, decode",
        ),
        (InputError("suite.csv: phase = 'x': bad"), "suite.csv: phase = 'x': bad", "suite.csv: phase = 'x': bad"),
        (InputError("memory.phase = 3: bad"), "memory.phase = 3: bad", "memory.phase = 3: bad"),
    ],
)
def test_options_are_spelled_as_their_readers_write_them(error: InputError, python: str, command_line: str) -> None:
    """Flags on the command line, keywords in Python; fields of files keep their names."""
    assert str(error) == python
    assert error.on_command_line(FLAGS) == command_line


def test_errors_of_worker_processes_arrive_whole() -> None:
    """They are pickled on their way."""
    assert str(pickle.loads(pickle.dumps(must_be("tp", 0, "at least 1")))) == "tp = 0: must be at least 1"
