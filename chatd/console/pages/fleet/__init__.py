"""The page for operators: workers, the process that answers, and active chats of all owners."""
