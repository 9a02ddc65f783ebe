"""Experiments as data: TOML files that say what is run and what a paper found, and the code that runs and compares."""
