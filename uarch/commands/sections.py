"""Sections of ``uarch --help``, in the order in which they are printed."""

from __future__ import annotations

from enum import StrEnum


class Section(StrEnum):
    """Heading under which a command stands; each module of commands names its own as ``SECTION``."""

    LOOK_UP = "What there is"
    SIMULATE = "Simulate"
    RESULTS = "Look into results"
    ACCURACY = "Compare with measurements and other models"
    PARTS = "Parts of a chip alone, and files of other tools"
