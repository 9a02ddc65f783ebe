"""Running a model: its operators on a chip, pipeline, overlap, stored results, the trace."""
