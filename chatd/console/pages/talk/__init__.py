"""A chat to talk in."""
