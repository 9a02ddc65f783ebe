"""A chip as data: the schema of chip files, the floor plan of its die, the voltage that a clock needs."""
