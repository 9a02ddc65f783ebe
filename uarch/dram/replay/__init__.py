"""Request streams through a channel without an engine: traces, patterns and load curves."""
