"""Reading a sweep: its TOML file, and a check of every name in it before anything runs."""

from __future__ import annotations

from collections.abc import Sequence

from uarch.chip.schema import Chip
from uarch.chip_file import load_chip
from uarch.errors import InputError, unknown_name
from uarch.files.reading import field_names, read_toml, validate
from workloads.models.presets import load_model
from workloads.settings.run_options import RunOptions
from workloads.settings.stack import load_stack
from workloads.sweep.expressions import parsed
from workloads.sweep.names import ALL_RUNS, OUTPUTS, PHYSICAL, RUN_FIELDS, output_name, owner, reached
from workloads.sweep.schema import SWEEPS, Sweep


def load_sweep(name_or_path: str) -> Sweep:
    """Load a sweep and check it.

    Parameters
    ----------
    name_or_path
        A sweep that comes with the package, or a TOML file of the same layout.

    Raises
    ------
    InputError
        The sweep is unknown, its file cannot be read, or a field, a range or an expression in it is wrong.

    Examples
    --------
    >>> load_sweep("decode-bandwidth").objective[0].column
    'decode.seconds'
    """
    sweep = validate(Sweep, read_toml(SWEEPS.find(name_or_path)), f"sweep {name_or_path}")
    try:
        _check(sweep)
    except InputError as error:
        raise InputError(f"sweep {name_or_path}: {error}") from error
    return sweep


def _check(sweep: Sweep) -> None:
    load_chip(sweep.chip, sweep.set)
    load_stack(sweep.stack)
    for name, run in sweep.run.items():
        if name in Chip.model_fields or name in (ALL_RUNS, "chip", "stack"):
            raise InputError(f"run.{name}: must have a name that is no field of a chip, and not {ALL_RUNS}")
        load_model(run.model)
        RunOptions(**run.options)  # type: ignore[arg-type]  # names are checked by the schema, values here
    for name in sweep.parameter:
        _check_field(sweep, name, "parameter")
    for number, point in enumerate(sweep.point, start=1):
        for name in point:
            _check_field(sweep, name, f"point {number}")
    _check_derived(sweep)
    for text in sweep.constraints:
        _check_expression(sweep, text, f"constraint {text!r}")
    for objective in sweep.objective:
        _check_expression(sweep, objective.text, f"objective {objective.text!r}")


def _check_derived(sweep: Sweep) -> None:
    earlier: list[str] = []
    for name, text in sweep.derived.items():
        is_field = owner(sweep, name) is not None
        where = f"derived {name!r}"
        if name in sweep.parameter:
            raise InputError(f"{where}: is a parameter already")
        if not is_field and (name in PHYSICAL or output_name(sweep, name) or not name.isidentifier()):
            raise InputError(f"{where}: must be a field, or a new name of letters, digits and underscores")
        _check_expression(sweep, text, where, [each for each in sweep.derived if each not in earlier])
        for used in reached(sweep, text) if is_field else ():
            if used in PHYSICAL or output_name(sweep, used):
                raise InputError(f"{where}: {used} is known only of the finished chip; allowed: fields")
        earlier.append(name)


def _check_expression(sweep: Sweep, text: str, where: str, later: Sequence[str] = ()) -> None:
    """Check the names of an expression; ``later``: what is derived after it."""
    for name in parsed(text).names:
        if name in later:
            raise InputError(f"{where}: {name} is derived from it or after it; allowed: what is derived before")
        if name in sweep.derived or owner(sweep, name) or name in PHYSICAL or output_name(sweep, name):
            continue
        run, _, rest = name.partition(".")
        if run in sweep.run:
            raise InputError(f"{where}: {name} is not known; {unknown_name(rest, [*OUTPUTS, *RUN_FIELDS])}")
        if "." in name:
            _check_field(sweep, name, where)
        outputs = OUTPUTS if len(sweep.run) == 1 else ()
        names = [*sweep.derived, *PHYSICAL, *outputs, *sweep.run, ALL_RUNS, *Chip.model_fields]
        raise InputError(f"{where}: {name} is not known; {unknown_name(name, names)}")


def _check_field(sweep: Sweep, name: str, where: str) -> None:
    """Raise :class:`InputError` unless a name is a field that has a value, with what is allowed where it goes wrong."""
    if owner(sweep, name) is not None:
        return
    first, *rest = path = name.split(".")
    others = [*sweep.run, ALL_RUNS]
    if first in others:
        raise InputError(f"{where}: {name} is not a field; {unknown_name('.'.join(rest), list(RUN_FIELDS))}")
    for depth, part in enumerate(path):
        allowed = field_names(Chip, tuple(path[:depth]))
        if allowed is None:
            raise InputError(f"{where}: {'.'.join(path[:depth])} is a value, it has no fields")
        if part not in allowed:
            names = allowed if depth else [*allowed, *others, "chip", "stack"]
            raise InputError(f"{where}: {name} is not a field; {unknown_name(part, names)}")
    raise InputError(
        f"{where}: {name} is a table; allowed: one of its fields {', '.join(field_names(Chip, tuple(path)) or ())}"
    )
