"""Reading and checking input files, writing output, keeping derived data, and curves through given points."""
