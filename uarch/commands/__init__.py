"""Commands of the command line, one module each, with ``SECTION`` and a function ``register(app)``; the others help them."""
