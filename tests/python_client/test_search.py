"""``client.chats.search``: found chats with their matches, over pages."""

import pytest
from support.eventually import eventually
from support.in_process import running_daemon

from chatd.client import Client, text_of
from chatd.worker import search_indexer


async def test_search_continues_over_pages(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_indexer, "_INTERVAL_SECONDS", 0.05)
    async with (
        running_daemon(dsn, worker={"enabled": False}) as chatd,
        Client(str(chatd.api.http.base_url)) as client,
    ):
        ids = [(await client.chats.create(f"needle {n}"))["id"] for n in range(5)]

        async def all_found() -> bool:
            return len([found async for found in client.chats.search("needle")]) == 5

        await eventually(all_found)
        found = [each async for each in client.chats.search("needle", page_size=2)]
        assert [chat["id"] for chat, _ in found] == ids[::-1]
        chat, match = found[0]
        stored = [message async for message in client.messages.list(chat["id"])]
        assert match["message_id"] == stored[0]["id"]
        excerpt = "".join(piece["text"] for piece in match["excerpt"])
        assert excerpt == text_of(stored[0]["content"])
        assert len([each async for each in client.chats.search("needle", max_items=3)]) == 3
        assert [each async for each in client.chats.search("needle", labels=["a"])] == []
