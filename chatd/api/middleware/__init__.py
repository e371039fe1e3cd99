"""The package ``middleware``."""
