"""Design-space exploration: a space of chips and workloads as data, run anywhere, kept as one table."""
