"""Where the parts of an operand's box begin, for everything that walks over boxes."""

from __future__ import annotations

from uarch.arrays import IntArray
from uarch.jit import inline
from uarch.program.records import NONE, StructArray


@inline
def first_row_of_part(tables: IntArray, tensor: StructArray, operand: StructArray, iteration: int, part: int) -> int:
    """First row, of the tensor with all its batch entries' rows one after the other, of a part of a box.

    The parts of a plain box are consecutive batch entries; those of a gathered one lie where the table says, counted from
    the box's own batch entry and row.
    """
    advanced = iteration * operand["step_batch"] + part
    row = operand["row"] + iteration * operand["step_row"]
    if operand["table"] == NONE:
        return int((operand["batch"] + advanced) * tensor["rows"] + row)
    return int(operand["batch"] * tensor["rows"] + row + tables[operand["table"] + advanced])
