"""Traces in the formats of other tools."""

from results.exports.tables import ExportError
from results.exports.writing import FORMATS, export_trace

__all__ = ["FORMATS", "ExportError", "export_trace"]
