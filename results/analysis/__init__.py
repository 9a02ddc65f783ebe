"""Numbers from traces: roll-up, bounds, invariants, differences, error statistics."""
