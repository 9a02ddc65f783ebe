"""SCALE-Sim's configuration as a chip of one core with one array, and its topology as a suite of GEMMs."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from uarch.chip_file import load_chip
from uarch.files.reading import one_line
from uarch.importers.overlay import chip_text
from uarch.systolic.scalesim_files import read_config, read_topology
from uarch.systolic.sparsity import kept_k

SUITE_COLUMNS = ("name", "M", "N", "K", "dtype")
"""Columns of a suite of GEMMs, as ``uarch bench-model --suite`` reads them."""


def scalesim_chip(path: Path, like: str = "a100") -> str:
    """Make the text of a chip file from a configuration (``.cfg``) of SCALE-Sim.

    The chip has one core with one array: its size and dataflow, the SRAMs as L1, and the memory's rate if it is given. A word
    is one byte, as in SCALE-Sim.

    Parameters
    ----------
    path
        The configuration.
    like
        Preset or chip file that supplies what the configuration does not say, the clock included.

    Returns
    -------
    str
        A chip file in TOML, in which every value from the configuration names the key that it came from.

    Raises
    ------
    InputError
        For a file that cannot be read, naming the line.

    Examples
    --------
    >>> import uarch
    >>> from pathlib import Path
    >>> array = "ArrayHeight: 32\\nArrayWidth: 16\\nDataflow: ws\\n"
    >>> srams = "IfmapSramSzkB: 64\\nFilterSramSzkB: 32\\nOfmapSramSzkB: 16\\nBandwidth: 10, 20, 30\\n"
    >>> presets = "[architecture_presets]\\n" + array + srams + "[run_presets]\\nInterfaceBandwidth: USER\\n"
    >>> _ = Path("array.cfg").write_text(presets)
    >>> _ = Path("array.toml").write_text(uarch.scalesim_chip(Path("array.cfg")))
    >>> chip = uarch.load_chip("array.toml")
    >>> chip.core.systolic.rows, chip.core.systolic.cols, chip.core.l1.bytes
    (32, 16, 114688)
    """
    config = read_config(path)
    fields: dict[str, tuple[Any, str]] = {
        "core.count": (1, "one core"),
        "core.lanes": (1, "one array"),
        "core.systolic.rows": (config.rows, "ArrayHeight"),
        "core.systolic.cols": (config.cols, "ArrayWidth"),
        "core.systolic.dataflow": (config.dataflow.name.lower(), "Dataflow"),
        "core.systolic.mac_stages": (1, "one cycle a MAC"),
        "core.systolic.macs_per_pe_per_cycle": ({"int8": 1.0}, "words of one byte"),
        "core.l1.bytes": (sum(config.sram_words), "the three SRAMs"),
        "core.l1.banks": (_banks(config.rows, config.cols), "an edge of the array for both operands, and the sums"),
        "core.l1.bank_bytes": (4, "a sum of four bytes"),
        "core.l1.latency_cycles": (0, "not modelled"),
    }
    if config.words_per_cycle is not None:
        rate = sum(config.words_per_cycle) * load_chip(like).clock.tensor_hz
        fields["memory.bandwidth_bytes_per_second"] = (rate, "Bandwidth of the three SRAMs at this clock")
    source = f"SCALE-Sim configuration {one_line(path.name)}"
    return chip_text(path.stem, like, fields, source, f"{path.stem}, from a configuration of SCALE-Sim")


def scalesim_suite(path: Path) -> str:
    """CSV of the layers of a topology file as GEMMs; of sparse filters only what is kept counts.

    Raises :class:`uarch.InputError` for a file that cannot be read, naming the line.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(SUITE_COLUMNS)
    for layer in read_topology(path):
        kept = int(kept_k(layer.k, *layer.sparsity))
        writer.writerow((layer.name, layer.m, layer.n, kept, "int8"))
    return file.getvalue()


def _banks(rows: int, cols: int) -> int:
    """Enough banks of four bytes that L1 never limits the array; at most as many as a chip may have."""
    return min(1024, max(1, rows + 2 * cols))
