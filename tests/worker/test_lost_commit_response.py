"""Commits whose response is lost: the writer finds out what was applied."""

from typing import Any
from uuid import uuid4

import pytest
from support.eventually import eventually
from support.in_process import NO_RENEWALS, running_daemon
from support.providers import scripted

from chatd.domain.errors import DatabaseUnavailable
from chatd.store.commands import CommitStep, FinishTurn, RecordRetry
from chatd.store.database import Database
from chatd.store.turns import FencingToken
from chatd.store.worker_command import WorkerCommand


async def test_interrupt_after_a_lost_finish_response_stops_the_next_turn(dsn: str) -> None:
    """The first turn is stored and the second one started, unknown to the worker, and interrupted."""
    provider = scripted([{"text": "You said: {message}"}], hang=[{"hang": True}])
    async with running_daemon(dsn, provider) as chatd:
        turns, chats = chatd.daemon.services.store.turns, chatd.daemon.services.store.chats
        apply = turns.apply

        async def lose_response(fence: FencingToken, command: WorkerCommand) -> None:
            assert isinstance(command, FinishTurn)
            turns.apply = apply  # type: ignore[method-assign]
            result = await apply(fence, command)
            assert result.chat.status == "running"  # with what was queued
            await chats.interrupt(result.chat.id, owner_id="local")
            raise DatabaseUnavailable

        chat = await chatd.api.create()
        turns.apply = lose_response  # type: ignore[assignment,method-assign]
        chatd.daemon.chat_tasks.stop_claiming()
        await chatd.api.send(chat["id"], "one")
        await chatd.api.send(chat["id"], "two", busy_behavior="queue")
        chatd.daemon.chat_tasks._draining = False
        await chatd.api.wait_for_status(chat["id"], "waiting", 5)
        assert await chatd.api.texts(chat["id"]) == ["You said: one"]
        assert await chatd.journal(chat["id"], "reap_interrupt") == []
        await eventually(lambda: not chatd.daemon.chat_tasks.leases)


@pytest.mark.parametrize(
    ("command_type", "answers"),
    [
        (RecordRetry, [{"error": {"status": 500}}]),
        (CommitStep, [{"tool_call": {"name": "unknown", "args": "{}"}}]),
    ],
)
async def test_stop_after_a_lost_response_is_heard_before_the_next_model_call(
    dsn: str,
    monkeypatch: pytest.MonkeyPatch,
    command_type: type[WorkerCommand],
    answers: list[dict[str, Any]],
) -> None:
    """The transition is stored, its response is lost, and a stop comes before the worker reads the chat.

    It is heard before the backoff too, which lasts longer here than the test waits.
    """
    monkeypatch.setattr("chatd.worker.failed_attempt.MAX_WAIT_IN_TASK_SECONDS", 600)
    provider = scripted([{"text": "never"}], first=answers)
    turn = {"backoff_seconds": 300, "backoff_max_seconds": 300}
    async with running_daemon(dsn, provider, turn=turn, worker=NO_RENEWALS) as chatd:
        chatd.daemon.chat_tasks.on_lease_in_doubt = lambda: None  # no heartbeat brings the stop
        turns, chats = chatd.daemon.services.store.turns, chatd.daemon.services.store.chats
        apply = turns.apply

        async def lose_response(fence: FencingToken, command: WorkerCommand) -> None:
            assert isinstance(command, command_type)
            turns.apply = apply  # type: ignore[method-assign]
            result = await apply(fence, command)
            await chats.interrupt(result.chat.id, owner_id="local")
            raise DatabaseUnavailable

        turns.apply = lose_response  # type: ignore[assignment,method-assign]
        chat = await chatd.api.create("[[first]]")
        await chatd.api.wait_for_status(chat["id"], "waiting", 15)
        assert provider.calls == 1
        assert [entry["transition"] for entry in await chatd.journal(chat["id"])][-2:] == [
            "interrupt",
            "finish_interrupt",
        ]


GIVE_BACK = """
UPDATE chats SET status = 'pending', pending_since = clock_timestamp(), worker_id = NULL,
    started_at = NULL, heartbeat_at = NULL, version = version + 1
"""
"""What a reaper does to a chat, whose epoch rises with the next claim only."""


async def test_chat_that_was_reaped_after_a_lost_response_is_not_gone_on_with(
    dsn: str, database: Database
) -> None:
    """The step is stored, its response is lost, and the chat is pending when the worker reads it."""
    provider = scripted(
        [{"text": "never"}], first=[{"tool_call": {"name": "unknown", "args": "{}"}}]
    )
    async with running_daemon(dsn, provider, worker=NO_RENEWALS) as chatd:
        chatd.daemon.chat_tasks.on_lease_in_doubt = lambda: (
            None
        )  # no heartbeat finds that it is lost
        turns = chatd.daemon.services.store.turns
        apply = turns.apply

        async def lose_response(fence: FencingToken, command: WorkerCommand) -> None:
            assert isinstance(command, CommitStep)
            turns.apply = apply  # type: ignore[method-assign]
            chatd.daemon.chat_tasks.stop_claiming()
            await apply(fence, command)
            await database.fetch(GIVE_BACK)
            raise DatabaseUnavailable

        turns.apply = lose_response  # type: ignore[assignment,method-assign]
        chat = await chatd.api.create("[[first]]")
        await chatd.wait_for_log("chat.lost", chat_id=chat["id"])
        await eventually(lambda: not chatd.daemon.chat_tasks.leases)
        assert provider.calls == 1
        assert (await chatd.api.chat(chat["id"]))["status"] == "pending"


async def test_progress_of_another_worker_is_not_taken_for_an_own_commit(
    dsn: str, database: Database
) -> None:
    """The commit failed without a response. Meanwhile another worker claimed the chat and stored a step."""
    provider = scripted([{"text": "You said: {message}"}])
    worker = {**NO_RENEWALS, "reap_interval_seconds": 600}
    async with running_daemon(dsn, provider, worker=worker) as chatd:
        turns = chatd.daemon.services.store.turns
        apply = turns.apply

        async def lose_chat(_: FencingToken, command: WorkerCommand) -> None:
            assert isinstance(command, FinishTurn)
            turns.apply = apply  # type: ignore[method-assign]
            await database.fetch(
                "UPDATE chats SET worker_id = $1, epoch = epoch + 1, version = version + 1,"
                " committed_steps = committed_steps + 1",
                uuid4(),
            )
            raise DatabaseUnavailable

        turns.apply = lose_chat  # type: ignore[assignment,method-assign]
        chat = await chatd.api.create("hello")
        await chatd.wait_for_log("chat.lost", chat_id=chat["id"])
        await eventually(lambda: not chatd.daemon.chat_tasks.leases)
        assert provider.calls == 1
