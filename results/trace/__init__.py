"""The trace of a run: schema, HDF5 file, timeline."""
