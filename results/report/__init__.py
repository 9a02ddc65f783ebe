"""A report on one or more runs as one HTML file that needs nothing else: no network, no other file."""

from results.report.page import report_html, write_report

__all__ = ["report_html", "write_report"]
