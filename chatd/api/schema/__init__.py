"""The package ``schema``."""
