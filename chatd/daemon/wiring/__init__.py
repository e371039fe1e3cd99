"""The package ``wiring``."""
