"""One memory channel, command by command: addresses, timing constraints, queues, refresh, schedulers."""
