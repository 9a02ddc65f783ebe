"""Sources of step times: a function, a table of measurements, a roofline; and their tabulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from uarch.chip_file import load_chip
from uarch.energy.static_power import idle_board_watts
from uarch.errors import InputError
from workloads.models.presets import load_model
from workloads.serving.step_times.csv_table import TableStepTimes
from workloads.serving.step_times.protocol import Extent, FunctionStepTimes, Steps, tabulate
from workloads.serving.step_times.roofline import RooflineStepTimes
from workloads.serving.step_times.step_grid import JOULES, SECONDS, stack_tables, step_value

pytestmark = pytest.mark.once("the jitted parts have tests of their own")

HEADER = "decodes,decode_context,prefill_tokens,prefill_keys,seconds,joules\n"


def steps(*rows: tuple[float, float, float, float, float]) -> Steps:
    return Steps(*np.array(rows, np.float64).T)


def additive(sequences: float, decodes: float, contexts: float, tokens: float, pairs: float) -> tuple[float, float]:
    """Seconds that jump with every 64 tokens, linear in the sums."""
    seconds = 0.005 + 1e-4 * -(-(decodes + tokens) // 64) + 1e-5 * sequences + 2e-8 * contexts + 3e-9 * pairs
    return seconds, 500 * seconds


@pytest.mark.parametrize(
    "step",
    [
        (1, 1, 700, 0, 0),
        (37, 37, 37 * 900, 0, 0),
        (1, 0, 0, 333, 333 * 200),
        (12, 9, 5000, 1500, 1.2e6),
        (3, 2, 10, 65, 3e3),
    ],
)
def test_a_table_gives_what_an_additive_function_says(step: tuple[int, int, float, int, float]) -> None:
    grid = stack_tables([tabulate(FunctionStepTimes(additive), Extent(64, 2112, 4096))])
    for what in (SECONDS, JOULES):
        assert step_value(grid, 0, *step, what) == pytest.approx(additive(*step)[what], rel=1e-9)


def csv_file(folder: Path, text: str) -> Path:
    path = folder / "steps.csv"
    path.write_text(HEADER + text)
    return path


GRIDS = "1,100,0,0,.01,1\n1,1100,0,0,.02,2\n9,100,0,0,.03,3\n9,1100,0,0,.05,5\n0,0,10,5,.02,2\n0,0,10,505,.04,4\n" + (
    "0,0,1010,5,.2,20\n0,0,1010,505,.5,50\n"
)


def test_measured_steps_are_returned_and_interpolated(tmp_path: Path) -> None:
    times = TableStepTimes(csv_file(tmp_path, GRIDS))
    values = times.seconds_and_joules(steps((9, 9, 9 * 1100, 0, 0), (5, 5, 5 * 600, 0, 0), (1, 0, 0, 510, 510 * 255)))
    np.testing.assert_allclose(values[:, 0], [0.05, (0.01 + 0.02 + 0.03 + 0.05) / 4, (0.02 + 0.04 + 0.2 + 0.5) / 4])
    np.testing.assert_allclose(values[:, 1], 100 * values[:, 0])


def test_a_mixed_step_is_a_prefill_of_all_tokens_and_the_decodes_longer_contexts(tmp_path: Path) -> None:
    times = TableStepTimes(csv_file(tmp_path, GRIDS))
    (mixed,) = times.seconds_and_joules(steps((10, 9, 9 * 1100, 1001, 1001 * 5)))
    assert mixed[0] == pytest.approx(0.2 + (0.05 - 0.03))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GRIDS.replace("9,1100,0,0,.05,5\n", ""), "prefill_tokens = 0: must form a full grid"),
        (GRIDS.replace("9,1100,", "9,100,"), "prefill_tokens = 0: must form a full grid"),
        (GRIDS.replace(".05", "-1"), "line 5: seconds = '-1': must be a number of at least 0"),
        (GRIDS.replace(".05", "fast"), "line 5: seconds = 'fast'"),
        ("", "must form a full grid"),
    ],
)
def test_a_table_that_is_wrong_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        TableStepTimes(csv_file(tmp_path, text))


def test_a_table_without_a_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / "steps.csv").write_text("decodes,seconds\n")
    with pytest.raises(InputError, match="column 'decode_context' is missing"):
        TableStepTimes(tmp_path / "steps.csv")


def test_the_roofline_of_a_decode_step_is_the_time_to_read_weights_and_cache() -> None:
    """Llama-3-8B, one H100: 7.50e9 parameters outside the embedding table and norms, 131,072 bytes of cache a token."""
    chip = load_chip("h100")
    times = RooflineStepTimes(chip, load_model("llama-3-8b"), 1, 1, "fp16", 2.0, 0.0)
    (decode,) = times.seconds_and_joules(steps((8, 8, 8 * 1024, 0, 0)))
    size = 2 * 7.504e9 + 8 * 1024 * 131_072
    assert decode[0] == pytest.approx(size / chip.memory.bandwidth_bytes_per_second, rel=0.002)
    assert decode[1] > idle_board_watts(chip) * decode[0]


def test_the_roofline_of_a_prefill_is_the_time_to_multiply() -> None:
    """2 FLOPs for each parameter of the layers (6.98e9) and token, and 4 x 4096 x 32 for each pair of a token and a key."""
    chip = load_chip("h100")
    times = RooflineStepTimes(chip, load_model("llama-3-8b"), 1, 1, "fp16", 2.0, 0.0)
    (prefill,) = times.seconds_and_joules(steps((1, 0, 0, 8192, 8192 * 4096.5)))
    flops = 8192 * 2 * 6.98e9 + 8192 * 4096.5 * 4 * 4096 * 32
    assert prefill[0] == pytest.approx(flops / chip.peak_flops("fp16"), rel=0.02)


def test_few_tokens_of_a_mixture_read_few_experts() -> None:
    chip, model = load_chip("h100"), load_model("mixtral-8x7b")
    times = RooflineStepTimes(chip, model, 4, 1, "fp16", 2.0, 0.0)
    one, many = times.seconds_and_joules(steps((1, 1, 1, 0, 0), (64, 64, 64, 0, 0)))[:, 0]
    assert one < 0.5 * many
