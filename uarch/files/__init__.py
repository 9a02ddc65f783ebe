"""Reading and checking input files, keeping derived files, and curves through given points."""
