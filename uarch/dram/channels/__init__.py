"""Device memory as the engine sees it: channels at ``tile`` and ``burst`` fidelity behind one interface."""
