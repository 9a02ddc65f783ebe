"""Choosing tiles: closed-form ranking, trials on the engine, the store of choices, menus of libraries."""
