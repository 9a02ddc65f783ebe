"""Sizes of datatypes."""

ELEMENT_BITS = {"fp32": 32, "tf32": 32, "fp16": 16, "bf16": 16, "fp8": 8, "int8": 8, "int4": 4}
"""Bits of an element in memory, by datatype."""

MATRIX_DTYPES = tuple(name for name in ELEMENT_BITS if name != "int4")
"""Those that matrix work can be in; weights and caches can be stored in any."""

SCALE_BITS = 16
"""Of the scale of a group of quantised elements: fp16 or bf16, as GPTQ and AWQ store them."""

ACCUMULATOR_BYTES = 4
"""Of an fp32 accumulator."""
