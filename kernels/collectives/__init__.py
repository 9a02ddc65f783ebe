"""Exchanges between chips over links or through the switch: all-reduce, all-to-all and their parts."""
