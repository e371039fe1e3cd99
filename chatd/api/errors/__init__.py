"""The package ``errors``."""
