"""Memory of streams of a chat with large files: that of what they are sent, which has no file in it."""

import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from support.files import PNG
from support.in_process import running_daemon
from support.providers import FunctionProvider, finished, text_delta

from chatd.domain.files import new_file
from chatd.llm.provider import Delta, ModelRequest
from chatd.store.database import Database

IMAGES = 30
IMAGE_BYTES = 2_200_000
VIEWERS = 20
MOST_MEMORY = 16 * 1024 * 1024

GROW = """
INSERT INTO chat_files (chat_id, id, media_type, size, data)
SELECT $1, $2, 'image/png', $4, $3 || convert_to(repeat('x', $4 - 8), 'UTF8')
"""


async def test_viewers_and_turns_of_a_chat_with_images_take_little_memory(
    dsn: str, database: Database
) -> None:
    """Thirty images took 1.3 GB for twenty viewers, and 530 MB for each step."""

    async def answer(_: ModelRequest) -> AsyncIterator[Delta]:
        yield text_delta("I see.")
        yield finished()

    async with running_daemon(dsn, FunctionProvider(answer)) as chatd:
        chat = await chatd.api.create()
        for number in range(IMAGES):
            file = new_file(PNG, media_type="image/png", name=str(number))
            reference = {**file.reference(), "size": IMAGE_BYTES}
            await database.fetch(GROW, chat["id"], file.id, PNG, IMAGE_BYTES)
            await database.fetch(
                "INSERT INTO chat_messages (chat_id, id, version, role, content)"
                " VALUES ($1, chat_message_id(1, $2), 1, 'user', $3)",
                chat["id"],
                number + 1,
                [reference],
            )
        chatd.daemon.services.hub.new_chats.forget_all()  # what was stored above, nobody was told of
        tracemalloc.start()
        try:
            async with AsyncExitStack() as stack:
                for _ in range(VIEWERS):
                    stream = chatd.api.stream(chat["id"])
                    snapshot = await anext(stream)
                    stack.push_async_callback(stream.aclose)  # type: ignore[attr-defined]
                    assert len(snapshot.data["messages"]) == IMAGES
                await chatd.api.send(chat["id"], "What do you see?")
                await chatd.api.wait_for_status(chat["id"], "waiting")
                _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert (await chatd.api.texts(chat["id"]))[-1] == "I see."
    assert peak < MOST_MEMORY
