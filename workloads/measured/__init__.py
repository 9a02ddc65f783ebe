"""Measured kernels: what the rows of a CSV file say, and the reader that all studies of them share."""
