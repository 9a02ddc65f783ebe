"""Sizes of datatypes."""

ELEMENT_BITS = {"fp32": 32, "tf32": 32, "fp16": 16, "bf16": 16, "fp8": 8, "int8": 8}
"""Bits of an element in memory, by datatype."""

ACCUMULATOR_BYTES = 4
"""Of an fp32 accumulator."""
