"""The clock that a power cap leaves: peak power, the cap, and execution under it."""
