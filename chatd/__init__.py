"""chatd runs AI chats over PostgreSQL. How the house is built: ``ARCHITECTURE.md`` beside this file."""

__version__ = "0.1.0"
