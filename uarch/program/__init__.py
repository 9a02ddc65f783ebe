"""The contract between kernels and engine: the struct arrays of a tile program and the boxes that its operands cover."""
