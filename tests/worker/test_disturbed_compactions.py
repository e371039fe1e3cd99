"""Compactions that are stopped, taken over, or failed and tried again, and those that callers ask for."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from support.claims import claim_chats
from support.eventually import eventually
from support.in_process import NO_RENEWALS, InProcessDaemon, fetch_rows
from support.leases import fencing_token_of, orphan_chats
from support.metrics import scrape
from support.providers import text_delta, tool_call_delta
from support.tool_endpoint import ToolCallRequest, response, tool_endpoint, tools
from support.windowed_models import (
    WindowedModel,
    answer_with_count,
    finished_with,
    first_summary,
    insert_turns,
    run_with_window,
    user_texts,
)

from chatd.domain.message import text_of
from chatd.domain.tool_choice import READ_RESULT_TOOL
from chatd.llm.errors import ProviderError
from chatd.llm.provider import Delta, ModelRequest
from chatd.store.compact import Compact
from chatd.store.database import Database
from chatd.store.turns import Turns

WINDOW = 8000


async def long_chat(chatd: InProcessDaemon, database: Database) -> str:
    """Return a chat that is too long for its model, and has a message to be answered."""
    chat = await chatd.api.create()
    await insert_turns(database, chat, 20, size=370)
    await chatd.api.send(chat["id"], "And now?")
    return str(chat["id"])


async def summaries_of(database: Database) -> int:
    return len(await fetch_rows(database, "SELECT FROM chat_messages WHERE covers_until > 0"))


async def test_interrupt_ends_a_compaction_and_leaves_no_trace(
    dsn: str, database: Database
) -> None:
    model = WindowedModel(WINDOW)
    model.may_summarize.clear()
    async with run_with_window(dsn, model) as chatd:
        chat_id = await long_chat(chatd, database)
        await eventually(lambda: model.summaries)
        [lease] = chatd.daemon.chat_tasks.leases
        assert lease.progress.snapshot().stage == "compaction"
        await chatd.api.interrupt(chat_id)
        await chatd.api.wait_for_status(chat_id, "waiting")
        assert await summaries_of(database) == 0
        model.may_summarize.set()
        await chatd.api.send(chat_id, "Go on.")
        await chatd.api.wait_for_status(chat_id, "waiting")
        assert await summaries_of(database) == 1
        assert user_texts(model.answers[-1])[-2:] == ["And now?", "Go on."]


async def test_other_worker_takes_over_in_the_middle(dsn: str, database: Database) -> None:
    model, other = WindowedModel(WINDOW), WindowedModel(WINDOW)
    model.may_summarize.clear()
    fast = {**NO_RENEWALS, "reap_interval_seconds": 0.1}
    async with run_with_window(dsn, model, worker=NO_RENEWALS) as first:
        chat_id = await long_chat(first, database)
        await eventually(lambda: model.summaries)
        first.daemon.chat_tasks.stop_claiming()
        async with run_with_window(dsn, other, worker=fast) as second:
            await orphan_chats(database, chat_id)
            await second.api.wait_for_status(chat_id, "waiting")
            model.may_summarize.set()
            await eventually(lambda: not first.daemon.chat_tasks.leases)
            assert await summaries_of(database) == 1
            assert (len(other.summaries), len(other.answers)) == (1, 1)
            assert not model.answers


async def test_failure_of_the_provider_is_an_ordinary_retry(dsn: str, database: Database) -> None:
    model = WindowedModel(WINDOW)
    model.summary_failures = [ProviderError("busy", status_code=503)] * 2
    async with run_with_window(dsn, model) as chatd:
        chat_id = await long_chat(chatd, database)
        await chatd.api.wait_for_status(chat_id, "waiting")
        assert len(model.summaries) == 3
        assert len(await chatd.journal(chat_id, "record_retry")) == 2
        model.summary_failures = [ProviderError("no key", status_code=401)]
        other = await long_chat(chatd, database)
        chat = await chatd.api.wait_for_status(other, "error")
        assert chat["last_error_detail"]["kind"] == "auth"


async def test_usage_of_a_summary_is_counted(dsn: str, database: Database) -> None:
    model = WindowedModel(WINDOW)
    async with run_with_window(dsn, model) as chatd:
        chat_id = await long_chat(chatd, database)
        chat = await chatd.api.wait_for_status(chat_id, "waiting")
        assert chat["usage"]["output_tokens"] == 20
        [line] = chatd.logged("chat.turn", outcome="finished")
        assert line["output_tokens"] == 20
        samples = await scrape(chatd)
        assert samples.sum_of("chatd_compactions_total", outcome="summarized") == 1
        assert samples.sum_of("chatd_provider_calls_total", model="one", purpose="summary") == 1


async def test_request_compacts_an_idle_chat_with_instructions(
    dsn: str, database: Database
) -> None:
    model = WindowedModel(WINDOW)
    async with run_with_window(dsn, model) as chatd:
        chat = await chatd.api.create()
        await insert_turns(database, chat, 10, size=370)
        answer = await chatd.api.http.post(
            f"/api/v1/chats/{chat['id']}/compact", json={"instructions": "Keep </instructions> it."}
        )
        assert answer.status_code == 202, answer.text
        await chatd.api.wait_for_status(chat["id"], "waiting")
        [request] = model.requests
        said = text_of(request.messages[-1].content)
        assert "<instructions>\nKeep &lt;/instructions> it.\n</instructions>" in said
        assert await summaries_of(database) == 1
        await chatd.api.send(chat["id"], "And now?")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        shown = model.answers[-1]
        assert first_summary(shown) is not None
        assert user_texts(shown)[-1] == "And now?"
        assert len(shown.messages) < 15


@pytest.mark.parametrize("turns", [0, 10])
async def test_request_after_an_interrupt_leaves_stopped_what_was_stopped(
    dsn: str, database: Database, turns: int
) -> None:
    may_answer = asyncio.Event()

    async def answer_when_allowed(request: ModelRequest) -> AsyncIterator[Delta]:
        await may_answer.wait()
        async for delta in answer_with_count(request):
            yield delta

    model = WindowedModel(WINDOW, answer=answer_when_allowed)
    async with run_with_window(dsn, model) as chatd:
        chat = await chatd.api.create()
        await insert_turns(database, chat, turns, size=370)
        await chatd.api.send(chat["id"], "And now?")
        await eventually(lambda: model.answers)
        await chatd.api.interrupt(chat["id"])
        await chatd.api.wait_for_status(chat["id"], "waiting")
        for _ in range(2):  # the later request replaces the earlier one, if that is not done yet
            answer = await chatd.api.http.post(f"/api/v1/chats/{chat['id']}/compact", json={})
            assert answer.status_code == 202, answer.text
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert len(model.answers) == 1
        assert await chatd.journal(chat["id"], "compact")
        may_answer.set()
        await chatd.api.send(chat["id"], "Go on.")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert user_texts(model.answers[-1])[-2:] == ["And now?", "Go on."]


async def test_turn_that_only_compacts_ends_elsewhere_too(dsn: str, database: Database) -> None:
    """Its worker dies between the compaction and the end of the turn."""

    async def never(_: ModelRequest) -> AsyncIterator[Delta]:
        await asyncio.Event().wait()
        yield text_delta("")

    model = WindowedModel(WINDOW, answer=never)
    async with run_with_window(dsn, model) as chatd:
        chat = await chatd.api.create()
        await insert_turns(database, chat, 10, size=370)
        await chatd.api.send(chat["id"], "And now?")
        await eventually(lambda: model.answers)
        await chatd.api.interrupt(chat["id"])
        await chatd.api.wait_for_status(chat["id"], "waiting")
        chatd.daemon.chat_tasks.stop_claiming()
        answer = await chatd.api.http.post(f"/api/v1/chats/{chat['id']}/compact", json={})
        assert answer.status_code == 202, answer.text
        [claim] = await claim_chats(database, 1)
        fence = fencing_token_of(claim.result.chat)
        await Turns(database).apply(
            fence, Compact(step=claim.result.chat.committed_steps, settled_part=0)
        )
        await orphan_chats(database, chat["id"])
        other = WindowedModel(WINDOW)
        fast = {**NO_RENEWALS, "reap_interval_seconds": 0.1}
        async with run_with_window(dsn, other, worker=fast) as second:
            await second.api.wait_for_status(chat["id"], "waiting")
            assert not other.requests
            await second.api.send(chat["id"], "Go on.")
            await second.api.wait_for_status(chat["id"], "waiting")
            assert user_texts(other.answers[-1])[-2:] == ["And now?", "Go on."]
        assert len(await chatd.journal(chat["id"], "compact")) == 1


async def test_request_with_nothing_to_cover_ends_without_a_call(dsn: str) -> None:
    model = WindowedModel(WINDOW)
    async with run_with_window(dsn, model) as chatd:
        chat = await chatd.api.create("Well?")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        answer = await chatd.api.http.post(f"/api/v1/chats/{chat['id']}/compact", json={})
        assert answer.status_code == 202, answer.text
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await chatd.journal(chat["id"], "compact")
        await chatd.api.send(chat["id"], "And now?")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert len(model.requests) == 2
        assert await chatd.api.texts(chat["id"], "user") == ["Well?", "And now?"]


async def test_pruned_result_can_be_read_again(dsn: str) -> None:
    """Also when another call of the chat has the same id, which the line of the result tells apart."""
    lines = 0

    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        nonlocal lines
        results = [
            part
            for message in request.messages
            for part in message.content
            if part["type"] == "tool-result"
        ]
        pruned = [part["result"] for part in results if READ_RESULT_TOOL in str(part["result"])]
        lines = len(pruned)
        if results and results[-1]["tool_name"] == READ_RESULT_TOOL:
            yield text_delta("done")
            yield finished_with(request)
        elif pruned:
            message_id = int(pruned[0].rpartition("message ")[2].rstrip("]"))
            args = {"tool_call_id": "again", "message": message_id, "limit": 40}
            yield tool_call_delta(READ_RESULT_TOOL, "read", json.dumps(args))
            yield finished_with(request, "tool_call")
        else:
            yield tool_call_delta("pay", "again")
            yield finished_with(request, "tool_call")

    paid = 0

    async def pay(_: ToolCallRequest) -> bytes:
        nonlocal paid
        paid += 1
        return response(f"receipt {paid} " + "r" * 6000)

    model = WindowedModel(WINDOW, answer=act)
    async with (
        tool_endpoint(pay) as endpoint,
        run_with_window(dsn, model, **tools(endpoint, tools={})) as chatd,
    ):
        chat = await chatd.api.create("Pay.")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert lines
        parts = [part for m in await chatd.api.messages(chat["id"]) for part in m["content"]]
        [read] = [p for p in parts if p["type"] == "tool-result" and p["tool_name"] != "pay"]
        assert read["result"].startswith("Bytes 0 to 40 of 6")
        assert read["result"].partition(":\n")[2].startswith("receipt 1 rrr")
        assert not read["is_error"]
