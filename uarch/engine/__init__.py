"""The discrete-event simulation of a tile program on a chip, and its closed-form twin, the roofline."""
