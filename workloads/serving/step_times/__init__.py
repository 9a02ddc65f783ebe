"""Time and energy of one step of a machine: the protocol, the tables that the event loop reads, and sources of them."""
