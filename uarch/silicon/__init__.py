"""Millimetres, dollars and watts of a design: area, wafer, cost, thermal design power."""
