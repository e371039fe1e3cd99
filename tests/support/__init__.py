"""The package ``support``."""
