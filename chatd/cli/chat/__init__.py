"""The package ``chat``."""
