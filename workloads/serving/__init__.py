"""Clusters under load: step times, schedulers, the event loop, cluster files and what users see of them."""
