"""The package ``routes``."""
