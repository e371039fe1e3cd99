"""The poller of chats: what it reads again after a read that failed."""

from contextlib import ExitStack, aclosing
from typing import Any
from uuid import UUID

import anyio
import pytest
from support.eventually import TIMEOUT_SECONDS
from support.factories import OWNER, chat_with_status

from chatd.domain.chat import Status
from chatd.domain.errors import DatabaseUnavailable
from chatd.domain.stream_events import StreamEventType
from chatd.fanout.hub import ChatHub
from chatd.store.chats import Chats
from chatd.store.database import Database
from chatd.store.stream_reads import StreamStore
from chatd.streaming.chat_poller import ChatStreamPoller
from chatd.streaming.chat_stream import subscribe_to_chat


async def test_chats_of_a_failed_read_are_read_by_the_next_step(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    hub = ChatHub(subscriber_buffer=100)
    poller = ChatStreamPoller(hub, StreamStore(database), poll_seconds=600)
    with subscribe_to_chat(hub, StreamStore(database), chat.id) as stream:
        await stream.open(None, owner_id=OWNER)
        async with aclosing(stream.events(idle_seconds=600)) as batches:
            await anext(batches)
            await poller.step()
            renamed = await Chats(database).describe(chat.id, owner_id=OWNER, title="new")
            hub.handle_hint(chat.id, renamed.chat.version)

            async def unavailable(*_: object, **_more: object) -> Any:
                raise DatabaseUnavailable

            with monkeypatch.context() as patch:
                patch.setattr(StreamStore, "updates_since", unavailable)
                with pytest.raises(DatabaseUnavailable):
                    await poller.step()
            await poller.step()
            with anyio.fail_after(TIMEOUT_SECONDS):
                [event] = await anext(batches)
    assert event.type is StreamEventType.CHAT


async def test_update_that_cannot_be_delivered_ends_the_streams_of_its_chat_only(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    chats = [await chat_with_status(database, Status.WAITING) for _ in range(3)]
    hub, reads = ChatHub(subscriber_buffer=100), StreamStore(database)
    poller = ChatStreamPoller(hub, reads, poll_seconds=600)
    apply_read = hub.apply_read

    def refuse_one(chat_id: UUID, *updates: Any, **more: Any) -> None:
        if chat_id == chats[1].id:
            raise KeyError(chat_id)
        apply_read(chat_id, *updates, **more)

    with ExitStack() as stack:
        subscriptions = []
        for chat in chats:
            stream = stack.enter_context(subscribe_to_chat(hub, reads, chat.id))
            await stream.open(None, owner_id=OWNER)
            subscriptions += hub._topics[chat.id].subscriptions
            renamed = await Chats(database).describe(chat.id, owner_id=OWNER, title="new")
            hub.handle_hint(chat.id, renamed.chat.version)
        monkeypatch.setattr(hub, "apply_read", refuse_one)
        await poller.step()
        assert [each.disconnected for each in subscriptions] == [False, True, False]
        assert [len(each.take()) for each in subscriptions] == [1, 0, 1]
