"""Which operators a model runs in a phase, on which software stack; the runner of whole phases."""
