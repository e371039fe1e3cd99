"""The package ``vendors``."""
