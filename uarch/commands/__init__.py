"""Commands of the command line, one module each, with a function ``register(app)``."""
