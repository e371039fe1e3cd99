"""The package ``openapi``."""
