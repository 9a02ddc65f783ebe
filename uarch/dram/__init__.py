"""Command-level model of one memory (pseudo-)channel: standards, controller, energy, traces."""
