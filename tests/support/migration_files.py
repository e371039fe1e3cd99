"""Folders of migration files that tests write."""

from pathlib import Path

MIGRATION_FILES = {
    "0001_chats.up.sql": "CREATE TABLE chats (id int PRIMARY KEY, title text);\n",
    "0001_chats.down.sql": "DROP TABLE chats;\n",
    "0002_title.up.sql": (
        "-- chatd: no-transaction\n"
        "-- Titles; searched.\n"
        "CREATE INDEX CONCURRENTLY chats_title ON chats (title);\n"
        "COMMENT ON INDEX chats_title IS 'a ; b -- c';"
    ),
    "0002_title.down.sql": "-- chatd: no-transaction\nDROP INDEX CONCURRENTLY chats_title;\n",
    "0003_notes.up.sql": "CREATE TABLE notes (id int); INSERT INTO notes VALUES (1)",
    "0003_notes.down.sql": "DROP TABLE notes;\n",
}


def write_files(folder: Path, files: dict[str, str]) -> Path:
    """Write files into a folder, which is created if needed. Return the folder."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder
