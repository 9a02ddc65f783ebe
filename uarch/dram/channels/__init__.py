"""What the engine sees of memory: channels at ``tile`` and ``burst`` fidelity behind one interface."""
