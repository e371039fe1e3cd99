"""The package ``auth``."""
