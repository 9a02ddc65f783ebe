"""Numbers with their units, as text."""

from __future__ import annotations

_PREFIXES = {
    1e15: "P",
    1e12: "T",
    1e9: "G",
    1e6: "M",
    1e3: "k",
    1.0: "",
    1e-3: "m",
    1e-6: "µ",
    1e-9: "n",
    1e-12: "p",
}


def scale_of(value: float, unit: str) -> tuple[float, str]:
    """The prefixed unit in which ``value`` is at least 1: (how many of ``unit`` it is, its name)."""
    if not value:
        return 1.0, unit
    factor = next((factor for factor in _PREFIXES if abs(value) >= factor), 1e-12)
    return factor, _PREFIXES[factor] + unit


def quantity(value: float, unit: str) -> str:
    """Three significant digits with a prefixed unit: ``quantity(0.00123, "s")`` is ``1.23 ms``."""
    rounded = float(f"{value:.3g}")
    factor, name = scale_of(rounded, unit)
    scaled = rounded / factor
    digits = max(0, 2 - (len(str(int(abs(scaled)))) - 1)) if scaled else 0
    return f"{scaled:.{digits}f} {name}".rstrip()
