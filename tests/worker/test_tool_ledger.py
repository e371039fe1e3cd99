"""Random turns with tools of all kinds whose workers are lost after any statement."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.client_tools import TOOLS, results_in
from support.eventually import eventually
from support.in_process import InProcessDaemon, running_daemon
from support.invariants import check_all
from support.providers import FunctionProvider, finished, text_delta, tool_call_delta
from support.tool_endpoint import ToolCallRequest, response, tool_endpoint, tools

from chatd.domain.errors import DatabaseUnavailable, LeaseLost
from chatd.domain.message import Role
from chatd.llm.provider import Delta, ModelRequest, PartDelta
from chatd.store.commands import WorkerCommand
from chatd.store.database import Database
from chatd.store.records import TransitionResult
from chatd.store.turns import FencingToken

CHATS = 24
NAMES = ("pay", "pay", "look", "weather", "no such")


def random_answers(numbers: random.Random) -> list[list[PartDelta]]:
    """Return the calls of each answer of a turn, before the one that ends it."""
    return [
        [
            tool_call_delta(numbers.choice(NAMES), f"c{n}", index=n)
            for n in range(numbers.randrange(1, 6))
        ]
        for _ in range(numbers.randrange(1, 4))
    ]


def planned_provider(plans: dict[str, list[list[PartDelta]]]) -> FunctionProvider:
    """Return a provider that makes the calls that are planned for the first message of a chat."""

    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        plan = plans[request.messages[0].content[0]["text"]]
        answers = sum(message.role is Role.ASSISTANT for message in request.messages)
        for delta in plan[answers] if answers < len(plan) else [text_delta("done")]:
            yield delta
        yield finished("tool_call" if answers < len(plan) else "stop")

    return FunctionProvider(act)


def lose_workers(chatd: InProcessDaemon, database: Database, numbers: random.Random) -> None:
    """Have the worker lose chats, or responses, right after some of its statements."""
    turns = chatd.daemon.services.store.turns
    apply = turns.apply
    losses: Counter[Any] = Counter()

    async def apply_and_lose(fence: FencingToken, command: WorkerCommand) -> TransitionResult:
        before, after = numbers.random(), numbers.random()
        if losses[fence.chat_id] < 8 and before < 0.1:
            losses[fence.chat_id] += 1
            await take(database, fence)
            raise LeaseLost(chat_id=fence.chat_id, epoch=fence.epoch)
        result = await apply(fence, command)
        if losses[fence.chat_id] < 8 and after < 0.3:
            losses[fence.chat_id] += 1
            if after < 0.1:
                raise DatabaseUnavailable
            await take(database, fence)
            raise LeaseLost(chat_id=fence.chat_id, epoch=fence.epoch)
        return result

    turns.apply = apply_and_lose  # type: ignore[method-assign]


async def take(database: Database, fence: FencingToken) -> None:
    """Give a chat back to pending, as a reaper does with those of a dead worker."""
    await database.fetch(
        "WITH taken AS (UPDATE chats SET status = 'pending', worker_id = NULL, started_at = NULL,"
        "  heartbeat_at = NULL, pending_since = clock_timestamp(), version = version + 1,"
        "  settled_part = settled_part + 1, recoveries = 1"
        "  WHERE id = $1 AND epoch = $2 AND status = 'running' RETURNING *)"
        " INSERT INTO chat_events (chat_id, version, transition, status, epoch, data)"
        " SELECT id, version, 'reap', status, epoch, jsonb_build_object('settled_part', settled_part)"
        " FROM taken",
        fence.chat_id,
        fence.epoch,
    )


async def answer_client_calls(chatd: InProcessDaemon, database: Database, chat_id: str) -> None:
    """Submit results whenever the chat asks for some, until it is idle."""

    async def is_idle() -> bool:
        [chat] = await database.fetch("SELECT * FROM chats WHERE id = $1", chat_id)
        assert chat["status"] != "error", chat["last_error"]
        if chat["status"] == "requires_action":
            rows = await database.fetch(
                "SELECT tool_call_id FROM chat_tool_calls WHERE chat_id = $1 AND state = 'asked'",
                chat_id,
            )
            asked = [row["tool_call_id"] for row in rows]
            await chatd.api.submit_tool_results(chat_id, dict.fromkeys(asked, "of client"))
        return bool(chat["status"] == "waiting")

    await eventually(is_idle, interval_seconds=0.05)


@pytest.mark.parametrize("seed", range(2))
async def test_every_call_has_one_result_and_starts_as_often_as_it_may(
    dsn: str, database: Database, seed: int
) -> None:
    numbers = random.Random(seed)
    plans = {f"chat {n}": random_answers(numbers) for n in range(CHATS)}
    provider = planned_provider(plans)

    async def answer(_: ToolCallRequest) -> bytes:
        await asyncio.sleep(numbers.choice((0, 0, 0.02)))
        return response("ok")

    async with (
        tool_endpoint(answer) as endpoint,
        running_daemon(
            dsn,
            provider,
            worker={"max_recoveries": 1000},
            **tools(endpoint, tools={"parallel": 3}),
        ) as chatd,
    ):
        lose_workers(chatd, database, numbers)
        ids = [(await chatd.api.create(text, tools=TOOLS))["id"] for text in plans]
        await asyncio.gather(*(answer_client_calls(chatd, database, chat_id) for chat_id in ids))
        await check_all(database)
        starts = Counter((request.target, request.key) for request in endpoint.requests)
        assert max(count for (target, _), count in starts.items() if target == "/pay") == 1
        assert max(starts.values()) <= 3
        rows = await database.fetch("SELECT policy, tries, state FROM chat_tool_calls")
        assert {row["state"] for row in rows} == {"closed"}
        assert any(row["tries"] > 1 for row in rows), "no worker was lost while a tool ran"
        for request in provider.requests:
            answered = [call_id for call_id, _, _ in results_in(request)]
            called = [
                part["tool_call_id"]
                for message in request.messages
                for part in message.content
                if part["type"] == "tool-call"
            ]
            assert answered == called
