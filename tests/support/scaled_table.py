"""An energy table of a user's own."""

from __future__ import annotations

from pathlib import Path


def write_scaled_table(path: Path, factor: float) -> None:
    """Write a table whose logic, SRAM and wires take ``factor`` times the energy of the table ``n4``."""
    parts = "".join(
        f'[scale.{part}]\nfactor = {factor}\nlow = {factor}\nhigh = {factor}\nsource = "test"\n'
        for part in ("logic", "sram", "wire")
    )
    path.write_text(f'name = "mine"\nbase = "n4"\n{parts}')
