"""The package ``request``."""
