"""Models, phases and software stacks: the operators that a model runs in a phase, and running them."""
