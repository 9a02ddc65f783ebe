"""Chips and workloads from the files of other tools."""
