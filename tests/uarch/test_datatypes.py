"""The table of datatypes is complete and agrees with what follows from it."""

from __future__ import annotations

from itertools import pairwise
from typing import get_args

import pytest

from uarch.chip_file import load_chip
from uarch.datatypes import (
    DATATYPES,
    MATRIX_DATATYPES,
    QUANTISED,
    Datatype,
    MatrixDatatype,
    check_matrix_datatype,
    datatype,
)
from uarch.energy.per_event import event_energies
from uarch.energy.table import EventEnergy
from uarch.energy.tables_on_disk import energy_table_names, load_energy_table
from uarch.errors import InputError
from uarch.power.peak import peak_power


def test_every_name_has_a_record_and_every_record_a_name() -> None:
    """A type checker and the command line see the names, the simulator the records."""
    assert tuple(DATATYPES) == get_args(Datatype)
    assert set(get_args(MatrixDatatype)) == {name for name, record in DATATYPES.items() if record.rate}


def test_wide_datatypes_come_first() -> None:
    """The order in which messages and help list them."""
    assert all(wide.bits >= narrow.bits for wide, narrow in pairwise(DATATYPES.values()))


def test_quantised_datatypes_are_dequantised_and_have_scales() -> None:
    """What is stored as it is used needs neither."""
    assert tuple(name for name, record in DATATYPES.items() if record.dequantise_ops) == QUANTISED
    for record in DATATYPES.values():
        assert record.has_weight_scales or not record.has_kv_scales
        assert record.has_weight_scales or record.group_size is None


@pytest.mark.parametrize("table", energy_table_names())
def test_every_energy_table_has_every_datatype_that_arrays_multiply(table: str) -> None:
    """With a source for each value; a table that a user writes may leave out what no chip of theirs multiplies."""
    energies = load_energy_table(table).matrix_mac
    assert set(energies) == set(MATRIX_DATATYPES)
    assert all(isinstance(energy, EventEnergy) and energy.source for energy in energies.values())


def test_an_unknown_datatype_is_an_error_everywhere() -> None:
    """Size, arrays, energy and peak power: none falls back to a size of its own."""
    chip = load_chip("h100")
    with pytest.raises(InputError, match="kv_dtype = 'fp5': not known; did you mean 'fp"):
        datatype("fp5", "kv_dtype")
    with pytest.raises(InputError, match="dtype = 'int4': not known; did you mean 'int8'"):
        check_matrix_datatype("int4")
    with pytest.raises(InputError, match=r"energy table n4: matrix_mac\.int4 is missing; it has fp32, "):
        event_energies(chip, "int4")
    with pytest.raises(InputError, match="int4"):
        peak_power(chip, "int4")
    with pytest.raises(InputError, match="fp5"):
        peak_power(chip, "fp5")
