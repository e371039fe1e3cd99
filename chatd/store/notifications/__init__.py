"""The package ``notifications``."""
