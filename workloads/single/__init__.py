"""Running one kernel: the functions behind ``uarch kernel``."""
