"""Random chips over the whole range of their fields, with tiny kernels: nothing beats physics, is lost, or left to chance."""

from __future__ import annotations

import os

import pytest

from kernels.program.tile_program import TileProgram
from tests.robustness.cases import named, numbers, random_of
from tests.robustness.random_chips import chip_of, fields, program_of
from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.engine.execute import KernelResult, execute
from uarch.engine.inline_ecc import check_share_of_program
from uarch.engine.roofline import execute_analytically
from uarch.errors import InputError
from uarch.events import Event

pytestmark = pytest.mark.compiled("whole ranges of chips take minutes by the interpreter")
BOUNDS_CHECKED = os.environ.get("NUMBA_BOUNDSCHECK", "0") != "0"
BATCHES = 4
_ROUNDING = 1e-6
"""Of times that are rounded to picoseconds, and rates to parts of them."""
FASTER = (
    ("clock.tensor_hz", "clock.vector_hz", "clock.l2_hz"),
    ("l2.bytes_per_cycle_per_slice",),
    ("noc.read_bytes_per_cycle_per_core", "noc.write_bytes_per_cycle_per_core"),
    ("core.vector.width", "core.vector.special_width"),
    ("core.l1.bank_bytes",),
    ("l2.bytes",),
)
"""Fields that make a chip better when they are doubled together."""


def check_physics(chip: Chip, program: TileProgram, result: KernelResult) -> None:
    """Time goes to causes, and suffices for all that was done at the rates of the chip."""
    assert (result.causes_ps >= 0).all()
    assert set(result.causes_ps.sum(axis=1)) == {result.total_ps}
    assert result.total_ps >= execute_analytically(chip, program).total_ps * (1 - _ROUNDING)
    assert result.count(Event.MACS) == program.macs
    share = check_share_of_program(chip.memory, program.tensors, program.steps, program.operands)
    peaks = {
        "matrix": (2 * result.count(Event.MACS), chip.peak_flops(program.dtype)),
        "vector": (2 * result.count(Event.VECTOR_OPS), chip.peak_vector_flops),
        "special": (result.count(Event.SPECIAL_OPS), chip.peak_special_ops_per_second),
        "l2": (result.l2_bytes, chip.l2_bytes_per_second),
        "dram": (result.dram_bytes * (1 + share), chip.memory.bandwidth_bytes_per_second),
        "link": (result.count(Event.LINK_BYTES), chip.link.bandwidth_bytes_per_second),
    }
    used = {name: done / (peak * result.seconds) for name, (done, peak) in peaks.items()}
    assert max(used.values()) <= 1 + _ROUNDING, used


@pytest.mark.parametrize("batch", range(BATCHES))
def test_physics_holds_on_random_chips(batch: int) -> None:
    for number in numbers(40 if BOUNDS_CHECKED else 100)[batch::BATCHES]:
        random = random_of("chip", number)
        program, shown = program_of(random)
        try:
            chip, overrides = chip_of(random)
            fidelity = random.choice(["tile", "tile", "burst"])
            first, state = execute(chip, program, fidelity=fidelity)
        except InputError:
            continue
        case = f"{named('chip', number)}: {shown} on {overrides}, {fidelity}"
        try:
            check_physics(chip, program, first)
            again, state_again = execute(chip, program, fidelity=fidelity)
            assert again.total_ps == first.total_ps
            assert (again.events == first.events).all()
            assert (again.causes_ps == first.causes_ps).all()
            assert state.key() == state_again.key()
        except AssertionError as error:
            raise AssertionError(f"{case}: {error}") from error


def _doubled(chip: Chip, path: str) -> str:
    value = chip
    for name in path.split("."):
        value = getattr(value, name)
    return f"{path}={2 * value!r}"  # type: ignore[operator]


def test_more_of_anything_is_never_slower() -> None:
    """Twice the rate or the room: at most 5 % slower, since other orders of events follow from other times."""
    for number in numbers(40):
        random = random_of("more", number)
        program, shown = program_of(random)
        try:
            chip, overrides = chip_of(random)
            more = [_doubled(chip, path) for path in random.choice(FASTER)]
            name, *changed = overrides.split(" ")
            better = load_chip(name, [*changed, *more])
            before, _ = execute(chip, program)
            after, _ = execute(better, program)
        except InputError:
            continue
        case = f"{named('more', number)}: {shown} on {overrides}; {more}"
        assert after.total_ps <= 1.05 * before.total_ps, case


def test_all_fields_of_a_chip_are_drawn() -> None:
    """Fields with a range or choices; a new one in the schema is drawn without a change here."""
    paths = {field.path for field in fields()}
    assert {"core.count", "l2.latency_seconds", "memory.interleave_bytes", "memory.refresh", "power.tdp_watts"} <= paths
    assert len(paths) >= 50
