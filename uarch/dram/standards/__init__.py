"""Memory devices as data: organisation, timings and currents in JEDEC's names; one TOML file a speed grade."""
