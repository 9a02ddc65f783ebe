"""LLMCompass's hardware templates (JSON; Zhang et al., ISCA 2024) as chip files.

What the template does not say (DRAM timing, latencies, ports, L1 banks, power, energy) is taken from another chip.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from uarch.chip_file import load_chip
from uarch.datatypes import MATRIX_DATATYPES
from uarch.dram.standards.standard import load_standard, standard_names
from uarch.errors import InputError, unknown_name
from uarch.files.reading import one_line, read_json, validate
from uarch.importers.overlay import chip_text

EXP_FLOPS = 35
"""FLOP of one exponential on the vector units, as LLMCompass counts it."""

Positive = Annotated[float, Field(gt=0, le=1e18)]
Count = Annotated[int, Field(ge=1, le=1 << 24)]


class _Template(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class _Array(_Template):
    array_width: Count
    array_height: Count
    data_type: str
    mac_per_cycle: Positive = 1.0


class _Vector(_Template):
    vector_width: Count
    flop_per_cycle: Positive


class _Core(_Template):
    sublane_count: Count
    systolic_array: _Array
    vector_unit: _Vector
    SRAM_KB: Positive


class _Chiplet(_Template):
    core_count: Count
    core: _Core


class _Io(_Template):
    global_buffer_MB: Positive  # noqa: N815 - the template's name
    global_buffer_bandwidth_per_cycle_byte: Positive
    memory_channel_active_count: Count
    pin_count_per_channel: Count
    bandwidth_per_pin_bit: Positive


class _Memory(_Template):
    total_capacity_GB: Positive  # noqa: N815


class _Device(_Template):
    frequency_Hz: Positive  # noqa: N815
    compute_chiplet_count: Count = 1
    compute_chiplet: _Chiplet
    memory_protocol: str = ""
    io: _Io
    memory: _Memory


class _Link(_Template):
    bandwidth_per_direction_byte: Positive
    latency_second: Annotated[float, Field(ge=0, le=1)]
    header_size_byte: Annotated[int, Field(ge=0)]
    max_payload_size_byte: Count


class _Interconnect(_Template):
    link: _Link
    link_count_per_device: Count


class _System(_Template):
    name: str = "imported"
    device: _Device
    interconnect: _Interconnect | None = None


def llmcompass_chip(path: Path, like: str = "a100") -> str:
    """Make the text of a chip file from a hardware template of LLMCompass.

    Parameters
    ----------
    path
        The template (JSON).
    like
        Preset or chip file that supplies what the template does not say.

    Returns
    -------
    str
        A chip file in TOML, in which every value from the template names the field that it came from.

    Raises
    ------
    InputError
        For a file that is no template, with the path of the field.

    Examples
    --------
    >>> import json, uarch
    >>> from pathlib import Path
    >>> array = {"array_width": 16, "array_height": 16, "data_type": "fp16", "mac_per_cycle": 1}
    >>> vector = {"vector_width": 32, "flop_per_cycle": 4}
    >>> core = {"sublane_count": 4, "systolic_array": array, "vector_unit": vector, "SRAM_KB": 192}
    >>> rates = {"global_buffer_bandwidth_per_cycle_byte": 5120, "bandwidth_per_pin_bit": 3.2e9}
    >>> pins = {"memory_channel_active_count": 5, "pin_count_per_channel": 1024}
    >>> device = {
    ...     "frequency_Hz": 1.41e9,
    ...     "compute_chiplet": {"core_count": 108, "core": core},
    ...     "memory_protocol": "HBM2e",
    ...     "io": {"global_buffer_MB": 40, **rates, **pins},
    ...     "memory": {"total_capacity_GB": 80},
    ... }
    >>> template = Path("template.json")
    >>> _ = template.write_text(json.dumps({"name": "mine", "device": device}))
    >>> _ = Path("mine.toml").write_text(uarch.llmcompass_chip(template))
    >>> uarch.load_chip("mine.toml").core.count
    108
    """
    content = read_json(path)
    if "device" not in content and "compute_chiplet" in content:
        content = {"name": content.get("name", path.stem), "device": content} | {
            "interconnect": content.get("interconnect")
        }
    system = validate(_System, content, f"LLMCompass template {one_line(str(path))}")
    fields = _compute(system.device) | _memory(system.device, path, like)
    if system.interconnect is not None:
        fields |= _link(system.interconnect)
    source = f"LLMCompass hardware template {one_line(path.name)}"
    return chip_text(system.name, like, fields, source, f"{one_line(system.name)}, from a template of LLMCompass")


_Fields = dict[str, tuple[Any, str]]


def _compute(device: _Device) -> _Fields:
    core, hz = device.compute_chiplet.core, device.frequency_Hz
    array, vector = core.systolic_array, core.vector_unit
    if array.data_type not in MATRIX_DATATYPES:
        allowed = unknown_name(array.data_type, list(MATRIX_DATATYPES))
        raise InputError(f"device.compute_chiplet.core.systolic_array.data_type = {array.data_type!r}: {allowed}")
    flops = vector.vector_width * vector.flop_per_cycle
    return {
        "clock.tensor_hz": (hz, "frequency_Hz"),
        "clock.vector_hz": (hz, "frequency_Hz: one clock"),
        "clock.l2_hz": (hz, "frequency_Hz: one clock"),
        "core.count": (device.compute_chiplet_count * device.compute_chiplet.core_count, "core_count of all chiplets"),
        "core.lanes": (core.sublane_count, "sublane_count"),
        "core.systolic.rows": (array.array_height, "array_height"),
        "core.systolic.cols": (array.array_width, "array_width"),
        "core.systolic.dataflow": (
            "os",
            "ceil(M / rows) ceil(N / cols) (K + rows + cols - 2) - 1 cycles in LLMCompass",
        ),
        "core.systolic.mac_stages": (1, "the same formula"),
        "core.systolic.macs_per_pe_per_cycle": ({array.data_type: array.mac_per_cycle}, "data_type, mac_per_cycle"),
        "core.vector.width": (max(1, round(flops / 2)), "vector_width x flop_per_cycle / 2"),
        "core.vector.special_width": (flops / EXP_FLOPS, f"vector_width x flop_per_cycle / {EXP_FLOPS} FLOP per exp"),
        "core.l1.bytes": (round(core.SRAM_KB * 1024), "SRAM_KB"),
    }


def _memory(device: _Device, path: Path, like: str) -> _Fields:
    io = device.io
    technology = device.memory_protocol.lower()
    bus_bits = io.memory_channel_active_count * io.pin_count_per_channel
    rate = f"{io.memory_channel_active_count} x {io.pin_count_per_channel} pins x bandwidth_per_pin_bit"
    fields: _Fields = {
        "l2.bytes": (round(io.global_buffer_MB * (1 << 20)), "global_buffer_MB"),
        "memory.bandwidth_bytes_per_second": (bus_bits * io.bandwidth_per_pin_bit / 8, rate),
        "memory.capacity_gib": (device.memory.total_capacity_GB, "total_capacity_GB"),
        "memory.packages": (io.memory_channel_active_count, "memory_channel_active_count"),
    }
    slices = _slices(io.global_buffer_bandwidth_per_cycle_byte)
    per_slice = io.global_buffer_bandwidth_per_cycle_byte / slices
    fields["l2.slices"] = (slices, "so that a slice moves 64 bytes a cycle, nearly")
    fields["l2.bytes_per_cycle_per_slice"] = (per_slice, "global_buffer_bandwidth_per_cycle_byte / slices")
    standard = load_chip(like).memory.standard
    if technology:
        standard = _nearest_standard(technology, io.bandwidth_per_pin_bit, path)
        fields["memory.technology"] = (technology, "memory_protocol")
        fields["memory.standard"] = (standard, "memory_protocol and bandwidth_per_pin_bit, the nearest table")
    width = load_standard(standard).organisation.width_bits
    channels = max(1, bus_bits // width)
    fields["memory.channels"] = (channels, f"pseudo-channels of {width} bits")
    fields["memory.bus_bits"] = (channels * width, "memory_channel_active_count x pin_count_per_channel")
    return fields


def _slices(bytes_per_cycle: float) -> int:
    return max(1, round(bytes_per_cycle / 64))


def _nearest_standard(technology: str, bits_per_second: float, path: Path) -> str:
    """The table of this technology whose data rate is nearest."""
    rates = {name: float(name.rpartition("-")[2]) for name in standard_names() if name.rpartition("-")[0] == technology}
    if not rates:
        known = sorted({name.rpartition("-")[0] for name in standard_names() if name.rpartition("-")[2].isdigit()})
        raise InputError(
            f"{path}: device.memory_protocol = {technology!r}: no timings of it; allowed: {', '.join(known)}"
        )
    return min(rates, key=lambda name: abs(rates[name] - bits_per_second / 1e6))


def _link(interconnect: _Interconnect) -> _Fields:
    link = interconnect.link
    total = link.bandwidth_per_direction_byte * interconnect.link_count_per_device
    return {
        "link.bandwidth_bytes_per_second": (total, "bandwidth_per_direction_byte x link_count_per_device"),
        "link.latency_seconds": (link.latency_second, "latency_second"),
        "link.payload_bytes": (link.max_payload_size_byte, "max_payload_size_byte"),
        "link.header_bytes": (link.header_size_byte, "header_size_byte"),
    }
