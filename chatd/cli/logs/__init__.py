"""The package ``logs``."""
