"""The package ``scripted``."""
