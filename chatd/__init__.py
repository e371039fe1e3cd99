"""chatd runs AI chats over PostgreSQL. ``docs/architecture/`` says how it is built."""

__version__ = "0.1.0"
