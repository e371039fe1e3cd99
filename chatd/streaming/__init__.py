"""The package ``streaming``."""
