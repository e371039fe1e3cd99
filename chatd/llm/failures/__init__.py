"""The package ``failures``."""
