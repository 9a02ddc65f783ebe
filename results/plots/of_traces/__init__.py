"""Pictures of traces, each a kind of ``uarch plot``."""
