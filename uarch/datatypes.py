"""Datatypes in one table: size, rate on the arrays, and how weights and keys and values are stored in them.

To add one: its name in :data:`MatrixDatatype` (arrays multiply it) or :data:`Datatype` (it is only stored), and its record in
:data:`DATATYPES`. One that arrays multiply also needs an energy with a source, ``[matrix_mac.NAME]`` in
``uarch/energy/tables/n7.toml``, from which the tables of other nodes follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal, get_args

from uarch.errors import unknown

MatrixDatatype = Literal["fp32", "tf32", "fp16", "bf16", "fp8", "int8"]
"""Datatypes that systolic arrays can multiply, if the chip's do."""
Datatype = Literal[MatrixDatatype, "int4", "fp4", "mxfp4"]
"""All datatypes; those that are no :data:`MatrixDatatype` are stored, and converted before they are used."""

ACCUMULATOR_BYTES = 4
"""Bytes of an fp32 accumulator."""


@dataclass(frozen=True)
class DatatypeRecord:
    """What the simulator knows about a datatype."""

    bits: int
    """Bits of an element in memory."""
    significand_bits: int
    """Bits that a multiplier sees: the significand with its hidden bit, the magnitude of an integer."""
    rate: Fraction = Fraction(0)
    """Multiply-accumulates of an array relative to fp16 where a chip does not state its own; 0 if arrays do not multiply it."""
    dequantise_ops: int = 0
    """Vector lane-operations that turn a stored key or value into an operand: conversion, multiplication by a scale, and
    taking apart two elements that share a byte."""
    has_weight_scales: bool = False
    """Whether weights that are asked for in this datatype have scales."""
    has_kv_scales: bool = False
    """Whether keys and values have a scale for each token and head, as KIVI and KVQuant keep for values."""
    group_size: int | None = None
    """Rows of weights that share a scale unless the caller says otherwise; None: a whole column."""
    block: int | None = None
    """Elements that share a scale by definition of the format; None: the caller may choose."""
    scale_bits: int = 16
    """Bits of a scale; 16 are fp16 or bf16, as GPTQ and AWQ store them."""


# Rates are those of H100's tensor cores (NVIDIA H100 white paper, 2022, table 2: 494.7, 989.4 and 1978.9 TFLOP/s for tf32,
# fp16 and fp8). They have no fp32; two-by-two passes of an fp16 multiplier are assumed.
DATATYPES: Final[dict[str, DatatypeRecord]] = {
    "fp32": DatatypeRecord(32, 24, Fraction(1, 4)),
    "tf32": DatatypeRecord(32, 11, Fraction(1, 2)),
    "fp16": DatatypeRecord(16, 11, Fraction(1)),
    "bf16": DatatypeRecord(16, 8, Fraction(1)),
    "fp8": DatatypeRecord(8, 4, Fraction(2), dequantise_ops=1, has_weight_scales=True),
    "int8": DatatypeRecord(8, 7, Fraction(2), dequantise_ops=2, has_weight_scales=True, has_kv_scales=True),
    "int4": DatatypeRecord(4, 3, dequantise_ops=3, has_weight_scales=True, has_kv_scales=True, group_size=128),
    # e2m1, with scales as int4 has them
    "fp4": DatatypeRecord(4, 2, dequantise_ops=3, has_weight_scales=True, has_kv_scales=True, group_size=128),
    # e2m1 in blocks of 32 that share a power of two, e8m0 (OCP Microscaling Formats specification 1.0, 2023, table 1)
    "mxfp4": DatatypeRecord(
        4, 2, dequantise_ops=3, has_weight_scales=True, has_kv_scales=True, group_size=32, block=32, scale_bits=8
    ),
}
"""Every datatype by name, wide ones first."""

MATRIX_DATATYPES: tuple[MatrixDatatype, ...] = get_args(MatrixDatatype)
"""Names of the datatypes that arrays can multiply."""
QUANTISED = tuple(name for name, record in DATATYPES.items() if record.has_weight_scales)
"""Names of the datatypes in which weights have scales."""


def datatype(name: str, option: str = "dtype") -> DatatypeRecord:
    """The record of a datatype; :class:`uarch.InputError` if there is none of that name, which ``option`` was to be.

    >>> datatype("int4").bits
    4
    """
    if name not in DATATYPES:
        raise unknown(option, name, DATATYPES)
    return DATATYPES[name]


def check_matrix_datatype(name: str, option: str = "dtype") -> None:
    """Raise :class:`uarch.InputError` unless arrays can multiply the datatype, which ``option`` was to be."""
    if name not in MATRIX_DATATYPES:
        raise unknown(option, name, MATRIX_DATATYPES)
