"""Writing tile programs: grids, boxes, slots, addresses, sizes of datatypes."""
