"""The page that says why a chat is as it is."""
