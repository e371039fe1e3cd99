"""Compaction in the turn: chats that outgrow the window of their model go on, or end in one error."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.in_process import InProcessDaemon, fetch_rows
from support.providers import text_delta, tool_call_delta
from support.tool_endpoint import ToolCallRequest, response, tool_endpoint, tools
from support.windowed_models import (
    SUMMARY,
    WindowedModel,
    finished_with,
    first_summary,
    insert_turns,
    run_with_window,
    tokens_of,
    user_texts,
)

from chatd.domain.message import Role
from chatd.domain.tool_choice import READ_RESULT_TOOL
from chatd.llm.provider import Delta, ModelRequest
from chatd.store.database import Database

WINDOW = 8000


async def failed(chatd: InProcessDaemon, chat_id: str) -> dict[str, Any]:
    chat = await chatd.api.wait_for_status(chat_id, "error")
    return dict(chat["last_error_detail"])


async def test_long_chat_is_compacted_and_goes_on(dsn: str, database: Database) -> None:
    model = WindowedModel(WINDOW)
    async with run_with_window(dsn, model) as chatd:
        chat = await chatd.api.create(system_prompt="Be kind.")
        await insert_turns(database, chat, 200, size=36)
        await chatd.api.send(chat["id"], "And now?")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        [summary], [answer] = model.summaries, model.answers
        assert not summary.tools
        assert summary.max_output_tokens == WINDOW // 10
        assert answer.messages[0].role is Role.SYSTEM
        written = first_summary(answer)
        assert written is not None
        assert SUMMARY.split("\n")[0] in written.content[0]["text"]
        assert written is answer.messages[1]
        assert user_texts(answer)[-1] == "And now?"
        assert tokens_of(answer) < WINDOW * 3 // 4 * 80 // 100
        # The user still reads all of it, and goes on.
        assert len(await chatd.api.messages(chat["id"])) >= 401
        for number in range(3):
            await chatd.api.send(chat["id"], f"More {number}")
            await chatd.api.wait_for_status(chat["id"], "waiting")
        assert len(model.summaries) == 1
        assert user_texts(model.answers[-1])[-4:] == ["And now?", "More 0", "More 1", "More 2"]
        line = await chatd.wait_for_log("chat.compacted", outcome="summarized", reason="size")
        assert line["after_tokens"] < line["before_tokens"]


async def test_chat_that_fits_costs_nothing_more(dsn: str, database: Database) -> None:
    model = WindowedModel(WINDOW)
    async with run_with_window(dsn, model) as chatd:
        chat = await chatd.api.create()
        await insert_turns(database, chat, 5, size=120)
        await chatd.api.send(chat["id"], "And now?")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert len(model.requests) == 1
        assert not await chatd.journal(chat["id"], "compact")


@pytest.mark.parametrize("limit", [None, WINDOW, 4 * WINDOW])
async def test_refusal_of_the_provider_compacts_once_per_step(
    dsn: str, database: Database, limit: int | None
) -> None:
    """The window may be unknown here, or smaller than the configuration says."""
    model = WindowedModel(WINDOW)
    async with run_with_window(dsn, model, {"context_limit": limit}) as chatd:
        chat = await chatd.api.create()
        await insert_turns(database, chat, 200, size=160)
        await chatd.api.send(chat["id"], "And now?")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert user_texts(model.answers[-1])[-1] == "And now?"
        assert len(model.answers) <= 2
        assert first_summary(model.answers[-1]) is not None


async def test_summary_that_is_too_long_ends_in_one_error(dsn: str, database: Database) -> None:
    model = WindowedModel(WINDOW, summary=lambda _: "word " * WINDOW)
    async with run_with_window(dsn, model) as chatd:
        chat = await chatd.api.create()
        await insert_turns(database, chat, 20, size=370)
        await chatd.api.send(chat["id"], "And now?")
        detail = await failed(chatd, chat["id"])
        assert detail["kind"] == "context_overflow"
        assert f"holds {WINDOW:,}" in detail["message"]
        assert "summarized 3 times" in detail["message"]
        assert len(model.summaries) == 3
        assert not model.answers
        assert len(chatd.logged("chat.summary_refused")) == 3
        assert not await fetch_rows(database, "SELECT FROM chat_summaries")


async def test_provider_that_says_always_that_it_is_too_long_ends_in_one_error(
    dsn: str, database: Database
) -> None:
    model = WindowedModel(10)
    async with run_with_window(dsn, model, {"context_limit": None}) as chatd:
        chat = await chatd.api.create()
        await insert_turns(database, chat, 50, size=400)
        await chatd.api.send(chat["id"], "And now?")
        detail = await failed(chatd, chat["id"])
        assert detail["kind"] == "context_limit"
        assert len(model.summaries) <= 3
        assert len(model.answers) == 1


async def test_message_that_is_too_long_alone_says_so(dsn: str) -> None:
    model = WindowedModel(WINDOW)
    async with run_with_window(dsn, model) as chatd:
        chat = await chatd.api.create("long " * 4 * WINDOW)
        detail = await failed(chatd, chat["id"])
        assert detail["kind"] == "context_overflow"
        assert detail["message"].startswith("the last message alone needs about ")
        assert not model.summaries


async def test_zero_percent_turns_it_off(dsn: str, database: Database) -> None:
    model = WindowedModel(WINDOW)
    options = {"context_limit": WINDOW, "compaction_percent": 0}
    async with run_with_window(dsn, model, options) as chatd:
        chat = await chatd.api.create()
        await insert_turns(database, chat, 200, size=300)
        await chatd.api.send(chat["id"], "And now?")
        detail = await failed(chatd, chat["id"])
        assert detail["kind"] == "context_limit"
        assert not model.summaries


def turn_of(steps: int) -> WindowedModel:
    """Return a model that calls a tool at so many steps of a turn."""
    made = 0

    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        nonlocal made
        if made == steps:
            yield text_delta("done")
            yield finished_with(request)
            return
        made += 1
        yield tool_call_delta("pay", f"call{made}")
        yield finished_with(request, "tool_call")

    return WindowedModel(32_000, answer=act)


RESULT = "r" * 20_000


async def long_result(_: ToolCallRequest) -> bytes:
    return response(RESULT)


async def test_turn_of_fifty_steps_with_large_results_finishes(
    dsn: str, database: Database
) -> None:
    """The beginning of each request is that of the last one, unless a compaction lies between."""
    model = turn_of(50)
    async with (
        tool_endpoint(long_result) as endpoint,
        run_with_window(
            dsn,
            model,
            turn={"max_steps": 60, "max_repeated_calls": 0},
            **tools(endpoint, tools={}),
        ) as chatd,
    ):
        chat = await chatd.api.create("Do it all.", system_prompt="Be kind.")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        compactions = len(await chatd.journal(chat["id"], "compact"))
        changed = sum(
            after.messages[: len(before.messages)] != before.messages
            for before, after in zip(model.answers, model.answers[1:], strict=False)
        )
        assert len(model.answers) == 51
        assert compactions
        assert changed <= compactions
        assert compactions < 30, "results are pruned in batches"
        assert READ_RESULT_TOOL in [tool.name for tool in model.answers[-1].tools]
        results = [
            part["result"]
            for message in model.answers[-1].messages
            for part in message.content
            if part["type"] == "tool-result"
        ]
        assert results[-1] == RESULT, "the newest results are whole"
        for request in model.answers[1:]:
            said = " ".join(part.get("text", "") for m in request.messages for part in m.content)
            assert "Do it all." in said
        stored = await chatd.api.messages(chat["id"])
        assert sum(p.get("result") == RESULT for m in stored for p in m["content"]) == 50
