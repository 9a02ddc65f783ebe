"""Chips with some fields anywhere in what their schema allows, and tiny kernels to run on them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from math import exp, log
from random import Random
from typing import Any, Literal, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from kernels.attention.attention import Attention, FlashMapping
from kernels.gemm.gemm import GemmMapping
from kernels.program.tile_program import TileProgram
from tests.support.small_programs import flash_program, gemm_program
from uarch.chip.schema import Chip
from uarch.chip_file import load_chip, preset_names
from uarch.dram.standards.standard import standard_names

_MEANT_FOR_PEOPLE = (
    "name",
    "description",
    "kind",
    "sources",
    "menu",
    "energy.table",
    "memory.technology",
    "memory.bus_bits",
)
"""Fields that no time depends on, that name files, or that follow from others."""
_MAPPINGS = ("interleaved", "ro-sid-ba^ro-co-bg", "sid-bg-ba-ro-co", "ro-co-sid-bg-ba", "ro-sid-ba-bg-co")
_POWERS = ("l2.interleave_bytes", "memory.interleave_bytes")


class Field:
    """A field of the chip's schema: its dotted path, and its limits or choices."""

    def __init__(self, path: str, info: FieldInfo) -> None:
        self.path = path
        self.low, self.high = 0.0, 0.0
        self.choices: tuple[Any, ...] = ()
        self.whole = False
        self._look(info.annotation)
        self._limits(info.metadata)
        if path == "memory.standard":
            self.choices = standard_names()
        elif path == "memory.mapping":
            self.choices = _MAPPINGS
        elif path in _POWERS:
            self.choices = tuple(1 << bits for bits in range(5, 21))

    def _look(self, annotation: Any) -> None:
        if annotation is bool:
            self.choices = (False, True)
        elif get_origin(annotation) is Literal:
            self.choices = get_args(annotation)
        elif annotation is int:
            self.whole = True
        elif hasattr(annotation, "__metadata__"):
            self._look(get_args(annotation)[0])
            self._limits(annotation.__metadata__)
        else:
            for part in get_args(annotation):
                self._look(part)

    def _limits(self, metadata: Any) -> None:
        for limit in metadata:
            if isinstance(limit, FieldInfo):
                self._limits(limit.metadata)
            elif isinstance(limit, annotated_types.Ge):
                self.low = max(self.low, float(str(limit.ge)))
            elif isinstance(limit, annotated_types.Le):
                self.high = float(str(limit.le))

    @property
    def drawn(self) -> bool:
        """Whether values can be drawn."""
        return bool(self.choices) or self.high > self.low

    def value(self, random: Random) -> str:
        """Draw a value as TOML: an end of the range, or anything between, evenly on a logarithmic scale."""
        if self.choices:
            return str(random.choice(self.choices)).replace("True", "true").replace("False", "false")
        lowest = self.low or min(1.0, self.high) * 1e-9
        drawn = exp(random.uniform(log(lowest), log(self.high)))
        drawn = random.choice([drawn] * 8 + [self.low or lowest, self.high])
        return str(max(int(self.low), round(drawn))) if self.whole else repr(min(self.high, max(self.low, drawn)))


@cache
def fields() -> tuple[Field, ...]:
    """List the fields of a chip that are drawn."""
    return tuple(field for field in _fields(Chip, "") if field.drawn and field.path not in _MEANT_FOR_PEOPLE)


def _fields(model: type[BaseModel], prefix: str) -> Iterator[Field]:
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _fields(info.annotation, f"{prefix}{name}.")
        else:
            yield Field(prefix + name, info)


def overrides_of(random: Random) -> list[str]:
    """Draw one to eight fields and their values."""
    drawn = random.sample(fields(), random.choice([1, 1, 2, 3, 5, 8]))
    return [f"{field.path}={field.value(random)}" for field in drawn]


def chip_of(random: Random) -> tuple[Chip, str]:
    """Draw a preset with overrides; also return them as text. Raises ``InputError`` where fields do not agree."""
    name, overrides = random.choice(preset_names()), overrides_of(random)
    return load_chip(name, overrides), " ".join([name, *overrides])


def program_of(random: Random) -> tuple[TileProgram, str]:
    """Draw a matrix product, or attention in one of its phases, that is simulated in milliseconds; also name it."""
    kind = random.choice(["gemm", "gemm", "split", "prefill", "decode"])
    if kind in ("gemm", "split"):
        m, n, k = (random.choice([1, 3, 17, 64, 100, 256]) for _ in range(3))
        splits = random.randint(2, 4) if kind == "split" else 1
        tile_m, tile_n = random.choice([16, 32, 64]), random.choice([16, 32, 64])
        mapping = GemmMapping(tile_m, tile_n, 16, random.randint(1, 4), splits)
        program = gemm_program(m, n, max(k, 16 * splits), mapping)
        return program, f"gemm {m} x {n} x {k}, {mapping}"
    heads, kv_len = random.randint(1, 3), random.choice([1, 16, 65, 200])
    if kind == "prefill":
        shape = Attention(1, heads, 1, 16, kv_len, kv_len)
        return flash_program(shape, FlashMapping(16, 16, 2)), f"prefill {shape}"
    shape = Attention(random.randint(1, 4), 4, 2, 16, 1, 64 + kv_len)
    return flash_program(shape, FlashMapping(1, 16, 4, pack=2, splits=random.randint(1, 4))), f"decode {shape}"
