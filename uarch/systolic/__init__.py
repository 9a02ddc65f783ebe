"""The systolic array on its own, cycle by cycle: dataflows, sparsity, banks, double buffering, SCALE-Sim's files."""
