"""The package ``migrations``."""
