"""Messages and queues of chats, as the store has them."""

from chatd.domain.chat import Chat
from chatd.store.database import Database
from chatd.store.reads import ChatReader
from support.factories import text_content


async def visible_texts(database: Database, chat: Chat) -> list[str]:
    """Return the texts of the messages that a client sees."""
    messages = (await ChatReader(database).messages_after(chat.id, 0, limit=100)).items
    return [message.content[0]["text"] for message in messages]


async def insert_message(database: Database, chat: Chat, role: str, text: str) -> int:
    """Insert a message without a transition. Return its id."""
    row = await database.fetchrow(
        "INSERT INTO chat_messages (chat_id, id, version, role, content)"
        " SELECT $1, COALESCE(max(id) + 1, chat_message_id(1, 1)), 1, $2, $3"
        " FROM chat_messages WHERE chat_id = $1 RETURNING id",
        chat.id,
        role,
        text_content(text),
    )
    assert row is not None
    return int(row["id"])


async def queued_ids(database: Database, chat: Chat) -> list[int]:
    """Return the ids of the queued messages, in order."""
    return [message.id for message in (await ChatReader(database).queue(chat.id, limit=100)).items]
