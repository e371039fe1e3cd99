"""The history of a leased chat: read once per claim, and then equal to what is stored at each step."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from support.client_tools import CLOCK, TOOLS
from support.eventually import eventually
from support.in_process import running_daemon
from support.providers import (
    FunctionProvider,
    finished,
    last_user_text,
    text_delta,
    tool_call_delta,
)

from chatd.domain.message import Role
from chatd.llm.provider import Delta, ModelRequest
from chatd.store.database import Database
from chatd.store.histories import ChatHistory
from chatd.store.turns import Turns

STEPS = 5


class CountedReads:
    """Count of the reads of histories."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        read = Turns.history

        async def counted(turns: Turns, *args: object) -> ChatHistory:
            self.count += 1
            return await read(turns, *args)  # type: ignore[arg-type]

        monkeypatch.setattr(Turns, "history", counted)


async def test_history_is_read_once_for_all_turns_of_a_claim(
    dsn: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request has what another worker would read, after steps, and after a queued message."""
    stored: list[ChatHistory] = []

    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        turns = Turns(database)
        stored.append(await read(turns, request.messages[0].chat_id))
        steps = len([m for m in request.messages if m.role is Role.ASSISTANT])
        if last_user_text(request) == "go" and steps < STEPS:
            if steps == 1:
                await chatd.api.send(chat["id"], "and then?")
            yield tool_call_delta("unknown", f"call{steps}", f'{{"step": {steps}}}')
            yield finished("tool_call")
        else:
            yield text_delta("well then")
            yield finished()

    provider, read = FunctionProvider(act), Turns.history
    async with running_daemon(dsn, provider) as chatd:
        reads = CountedReads(monkeypatch)
        chat = await chatd.api.create("go", system_prompt="Be kind.", tools=TOOLS)
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert reads.count <= 1, "it is known if the chat was claimed when it was created"
        assert len(await chatd.journal(chat["id"], "claim")) == 1
        assert len(provider.requests) == STEPS + 2
        assert last_user_text(provider.requests[-1]) == "and then?"
        assert [request.messages for request in provider.requests] == [h.messages for h in stored]
        assert [tool.name for tool in provider.requests[-1].tools] == [t["name"] for t in TOOLS]

        before = reads.count
        await eventually(lambda: not chatd.daemon.chat_tasks.leases)
        await chatd.api.send(chat["id"], "once more")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert reads.count == before, "it is known from the turns before"
        assert provider.requests[-1].messages == stored[-1].messages

        await eventually(lambda: not chatd.daemon.chat_tasks.leases)
        await chatd.daemon.services.store.chats.describe(
            UUID(chat["id"]), owner_id="local", title="another version of the chat"
        )
        await chatd.api.send(chat["id"], "and now?")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert reads.count == before + 1, "it may have changed"
        assert provider.requests[-1].messages == stored[-1].messages


async def test_tools_are_stored_apart_from_the_chat_and_deleted_with_it(
    dsn: str, database: Database
) -> None:
    async with running_daemon(dsn, worker={"enabled": False}) as chatd:
        with_tools = await chatd.api.create(tools=[CLOCK])
        without = await chatd.api.create()
        [row] = await database.fetch("SELECT chat_id, tools FROM chat_tools")
        assert str(row["chat_id"]) == with_tools["id"] != without["id"]
        assert [tool["name"] for tool in row["tools"]] == ["clock"]
        deleted = await chatd.api.http.delete(f"/api/v1/chats/{with_tools['id']}")
        assert deleted.status_code == 204
        assert await database.fetch("SELECT * FROM chat_tools") == []
