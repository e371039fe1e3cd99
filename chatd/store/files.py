"""Files of chats: what a transition stores of them, and reads of their bytes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from chatd.domain.errors import ChatNotFound, FileNotFoundInChat
from chatd.domain.files import File, FileSpan, file_reference
from chatd.domain.message import Part
from chatd.domain.sanitize import replace_unstorable
from chatd.store import sql
from chatd.store.database import Database

_Q = sql.load("files")

FILE_PARAMETERS: Final = ("file_ids", "file_media_types", "file_names", "file_data")


_NO_FILES: Final[Mapping[str, object]] = dict.fromkeys(FILE_PARAMETERS, ())


def file_parameters(files: Iterable[File]) -> Mapping[str, object]:
    """Return the parameters that every statement has which stores files."""
    files = tuple({file.id: file for file in files}.values())
    if not files:
        return _NO_FILES
    return {
        "file_ids": [file.id for file in files],
        "file_media_types": [replace_unstorable(file.media_type) for file in files],
        "file_names": [file.name and replace_unstorable(file.name) for file in files],
        "file_data": [file.data for file in files],
    }


@dataclass(frozen=True, slots=True)
class StoredFile:
    """Facts of a file, without its bytes."""

    media_type: str
    name: str | None
    size: int


class Files:
    """Store for reads of files."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def file(self, chat_id: UUID, file_id: UUID, *, owner_id: str | None) -> StoredFile:
        """Return what is known of a file. None as the owner stands for any owner.

        Raises:
            ChatNotFound, FileNotFoundInChat
        """
        row = await self._database.fetchrow(
            _Q["file"], chat_id=chat_id, file_id=file_id, owner_id=owner_id
        )
        if row is None:
            raise ChatNotFound(chat_id)
        if row["size"] is None:
            raise FileNotFoundInChat(chat_id=chat_id, file_id=file_id)
        return StoredFile(row["media_type"], row["name"], row["size"])

    async def references(
        self, chat_id: UUID, file_ids: Sequence[UUID], *, owner_id: str | None
    ) -> dict[UUID, Part]:
        """Return the content parts that stand for files of a chat.

        Raises:
            ChatNotFound, FileNotFoundInChat
        """
        rows = await self._database.fetch(
            _Q["references"], chat_id=chat_id, file_ids=file_ids, owner_id=owner_id
        )
        if not rows:
            raise ChatNotFound(chat_id)
        found: dict[UUID, Part] = {
            row["id"]: file_reference(
                row["id"], media_type=row["media_type"], name=row["name"], size=row["size"]
            )
            for row in rows
            if row["id"] is not None
        }
        for file_id in file_ids:
            if file_id not in found:
                message = f"The chat has no file {file_id}."
                raise FileNotFoundInChat(message, chat_id=chat_id, file_id=file_id)
        return found

    async def read(self, chat_id: UUID, spans: Sequence[FileSpan]) -> list[bytes]:
        """Return spans of bytes of files of a chat, in one statement.

        Raises:
            FileNotFoundInChat: the chat was deleted meanwhile.
        """
        rows = await self._database.fetch(
            _Q["read"],
            chat_id=chat_id,
            file_ids=[span.file_id for span in spans],
            firsts=[span.offset + 1 for span in spans],
            lengths=[span.length for span in spans],
        )
        if len(rows) < len(spans):
            raise FileNotFoundInChat(chat_id=chat_id)
        return [row["data"] for row in rows]
