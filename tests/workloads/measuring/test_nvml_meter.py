"""The board's counter of joules, on a library that exists in the test alone."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from workloads.measuring.nvml_meter import NvmlMeter

pytestmark = pytest.mark.once("a stub of a library: nothing is jitted")


class StubError(Exception):
    """What the library raises."""


def library(millijoules: int | None, *, driver: bool = True) -> SimpleNamespace:
    def init() -> None:
        if not driver:
            raise StubError

    def total(device: str) -> int:
        assert device == "board 0"
        if millijoules is None:
            raise StubError
        return millijoules

    return SimpleNamespace(
        NVMLError=StubError,
        nvmlInit=init,
        nvmlDeviceGetHandleByIndex=lambda index: f"board {index}",
        nvmlDeviceGetTotalEnergyConsumption=total,
    )


def test_millijoules_become_joules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", library(2_500))
    assert NvmlMeter().joules() == 2.5


@pytest.mark.parametrize("stub", [None, library(1, driver=False), library(None)])
def test_what_cannot_be_read_is_none(monkeypatch: pytest.MonkeyPatch, stub: SimpleNamespace | None) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", stub)
    assert NvmlMeter().joules() is None
