"""Options of the memory controller."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from uarch.dram.standards.standard import Standard
from uarch.errors import InputError
from uarch.files.section import Section

SCHEDULERS = ("frfcfs-rowhit", "frfcfs", "fcfs", "dramsim3")
REFRESH_MODES = ("none", "all", "bank")
NO_CAP = 2**40
MAX_BANKS = 64

SchedulerName = Literal["frfcfs-rowhit", "frfcfs", "fcfs", "dramsim3"]
RefreshMode = Literal["none", "all", "bank"]
PagePolicy = Literal["open", "closed", "capped"]


class ControllerOptions(Section):
    """How a channel's controller orders requests, keeps rows open and refreshes.

    Schedulers: ``fcfs`` serves the oldest request only; ``frfcfs`` the oldest one whose next command is ready;
    ``frfcfs-rowhit`` also keeps a row open while an older request hits it. All three serve reads until more than
    ``write_high_percent`` of the write queue is used (or no read waits), then writes until less than
    ``write_low_percent`` is. ``dramsim3`` is that tool's queueing: 8 commands a bank, round robin over banks.

    Pages: ``open`` until a conflict or a refresh; ``closed`` as soon as no waiting request hits the row; ``capped``
    closes a row for the next request after ``row_hit_cap`` accesses.
    """

    scheduler: SchedulerName = "frfcfs-rowhit"
    refresh: RefreshMode = "all"
    queue: int = Field(default=32, ge=1, le=4096)
    """Entries of the read queue, and of the write queue."""
    page: PagePolicy = "open"
    row_hit_cap: int = Field(default=16, ge=1)
    write_high_percent: int = Field(default=80, ge=0, le=100)
    write_low_percent: int = Field(default=20, ge=0, le=100)

    @model_validator(mode="after")
    def _policy_has_the_option(self) -> ControllerOptions:
        if self.scheduler == "dramsim3" and (self.page != "open" or self.refresh == "bank"):
            raise ValueError("scheduler dramsim3 has open pages and no refresh by bank")
        return self

    def lowered(self) -> npt.NDArray[np.int64]:
        """Lower the options to int64 of shape ``(8,)``, indexed by the ``O_*`` names of :mod:`uarch.dram.controller.state`."""
        return np.array(
            [
                self.queue,
                self.queue,
                self.write_high_percent,
                self.write_low_percent,
                SCHEDULERS.index(self.scheduler),
                self.page == "closed",
                self.row_hit_cap if self.page == "capped" else NO_CAP,
                REFRESH_MODES.index(self.refresh),
            ],
            dtype=np.int64,
        )


def check_options(standard: Standard, options: ControllerOptions) -> None:
    """Raise :class:`InputError` if a channel of the standard cannot be run with these options."""
    if options.refresh == "bank" and not (standard.timing.nREFIpb and standard.timing.nRFCpb):
        raise InputError(f"refresh: {standard.name} has no refresh by bank; allowed are none, all")
    if standard.banks > MAX_BANKS:
        raise InputError(f"standard: {standard.name} has {standard.banks} banks; at most {MAX_BANKS} are allowed")
