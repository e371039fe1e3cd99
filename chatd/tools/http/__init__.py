"""Tools that are HTTP endpoints, from the configuration."""
