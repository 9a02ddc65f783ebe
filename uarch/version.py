"""The package's version, from the metadata of its installation."""

from __future__ import annotations

from importlib import metadata


def _installed() -> str:
    try:
        return metadata.version("uarch")
    except metadata.PackageNotFoundError:  # run from the sources, not installed
        return "0+source"


__version__ = _installed()
