"""The explain route: the reasons for each state of a chat, by any replica."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import UUID

from support.eventually import eventually
from support.in_process import InProcessDaemon, running_daemon, running_daemons
from support.providers import FunctionProvider, finished, scripted, text_delta

from chatd import __version__
from chatd.llm.errors import ProviderError
from chatd.llm.provider import Delta, ModelRequest
from chatd.store.database import Database

HANG = [{"text": "A secret is "}, {"hang": True}]
OFTEN = {"heartbeat_seconds": 0.1, "lease_seconds": 60}


async def explained(chatd: InProcessDaemon, chat_id: str) -> dict[str, Any]:
    answer = await chatd.api.http.get(f"/api/v1/chats/{chat_id}/explain")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def codes(explanation: dict[str, Any]) -> list[str]:
    return [reason["code"] for reason in explanation["reasons"]]


async def until(chatd: InProcessDaemon, chat_id: str, code: str, words: str = "") -> dict[str, Any]:
    """Wait for a reason with this code, whose text contains ``words``."""

    async def found() -> dict[str, Any] | None:
        explanation = await explained(chatd, chat_id)
        texts = {reason["code"]: reason["text"] for reason in explanation["reasons"]}
        return explanation if words in texts.get(code, "") and code in texts else None

    return dict(await eventually(found, describe=lambda: f"{code} of {chat_id}"))


async def test_any_replica_explains_a_running_chat(dsn: str) -> None:
    """The worker reports its activity with each heartbeat, and no message content."""
    async with (
        running_daemon(dsn, worker={"enabled": False}) as front,
        running_daemon(dsn, scripted(HANG), worker=OFTEN) as worker,
    ):
        chat_id = (await front.api.create("tell me a secret"))["id"]
        for chatd in (front, worker):
            explanation = await until(chatd, chat_id, "in_stage", "'model stream'")
            assert (explanation["status"], explanation["epoch"], explanation["pending_since"]) == (
                "running",
                1,
                None,
            )
            assert explanation["worker"]["worker_id"] == str(worker.daemon.worker_id)
            assert explanation["worker"]["version"] == __version__
            assert explanation["worker"]["host"]
            assert explanation["worker"]["pid"] > 0
            assert 0 <= explanation["worker"]["last_heartbeat_seconds_ago"] < 30
            assert explanation["activity"]["stage"] == "model stream"
            assert 0 <= explanation["activity"]["reported_seconds_ago"] < 30
            since, until_ = (
                datetime.fromisoformat(explanation["activity"][k])
                for k in ("started_at", "deadline_at")
            )
            at = datetime.fromisoformat(explanation["at"])
            assert since < at < until_
            assert 30 < (until_ - since).total_seconds() < 90  # turn.stream_idle_timeout_seconds
            stale = chatd.daemon.settings.worker.lease_seconds
            assert stale - 30 < explanation["lease_left_seconds"] <= stale
            assert explanation["workers"]["alive"] == 1
            assert explanation["workers"]["free_slots"] == 99
            assert explanation["chats_ahead"] is None
            assert explanation["retry"] is None
            assert "secret" not in str(explanation)
        await worker.api.interrupt(chat_id)
        await worker.api.wait_for_status(chat_id, "waiting")
        explanation = await explained(front, chat_id)
        assert codes(explanation) == ["idle"]
        assert (
            explanation["worker"],
            explanation["activity"],
            explanation["lease_left_seconds"],
        ) == (None, None, None)


async def test_activity_of_an_earlier_worker_is_not_shown(dsn: str, database: Database) -> None:
    async with running_daemon(dsn, scripted(HANG), worker=OFTEN) as chatd:
        chat_id = (await chatd.api.create("hello"))["id"]
        await until(chatd, chat_id, "in_stage")
        row = await database.fetchrow("SELECT activity FROM chats WHERE id = $1", UUID(chat_id))
        assert row is not None
        assert row["activity"].keys() == {"epoch", "stage", "started_at", "deadline_at"}
    async with running_daemon(dsn, worker={"enabled": False}) as chatd:
        explanation = await explained(chatd, chat_id)
        assert explanation["status"] == "pending"
        assert explanation["activity"] is None


async def test_pending_chat_without_workers(dsn: str, database: Database) -> None:
    async with running_daemon(dsn, worker={"enabled": False}) as chatd:
        first = (await chatd.api.create("hello"))["id"]
        second = (await chatd.api.create("hello"))["id"]
        await chatd.api.send(second, "more")
        explanation = await explained(chatd, second)
        assert codes(explanation) == ["no_worker", "messages_queued"]
        assert (explanation["chats_ahead"], explanation["queue_length"]) == (1, 1)
        assert explanation["workers"] == {
            "alive": 0,
            "with_model": 0,
            "with_free_slots": 0,
            "free_slots": 0,
            "last_heartbeat_at": None,
        }
        assert (await explained(chatd, first))["chats_ahead"] == 0
        await database.fetch(
            "INSERT INTO workers (worker_id, host, pid, version, max_chats, heartbeat_at) SELECT"
            " gen_random_uuid(), 'h', 1, '0', 5, clock_timestamp() - make_interval(secs => $1)",
            30.0,
        )
        explanation = await explained(chatd, second)
        assert codes(explanation)[0] == "no_worker"
        assert "for 30 s" in explanation["reasons"][0]["text"]
        await database.fetch("UPDATE workers SET heartbeat_at = clock_timestamp(), max_chats = 1")
        explanation = await explained(chatd, second)
        assert codes(explanation)[0] == "model_unserved"
        assert explanation["workers"]["alive"] == 1
        assert explanation["workers"]["free_slots"] == 0, "none for this chat"
        await database.fetch("UPDATE workers SET models = ARRAY(SELECT id FROM chat_model_configs)")
        assert codes(await explained(chatd, second))[0] == "chats_ahead"
        assert codes(await explained(chatd, first))[0] == "claim_expected"
        await database.fetch("UPDATE workers SET max_chats = 0")
        assert codes(await explained(chatd, first))[0] == "no_free_slots"


async def test_chat_with_a_scheduled_retry(dsn: str) -> None:
    async def act(_: ModelRequest) -> AsyncIterator[Delta]:
        raise ProviderError("slow down", status_code=429)
        yield finished()

    turn = {"backoff_seconds": 600, "backoff_max_seconds": 600, "max_attempts": 5}
    async with running_daemons(
        dsn, [FunctionProvider(act), FunctionProvider(act)], turn=turn
    ) as replicas:
        chat_id = (await replicas[0].api.create("hello"))["id"]
        for chatd in replicas:
            explanation = await until(chatd, chat_id, "backing_off")
            assert codes(explanation) == ["backing_off"]
            assert explanation["retry"]["attempts"] == 1
            assert 0 < explanation["retry"]["next_attempt_in_seconds"] <= 600
            assert explanation["last_failure"]["kind"] == "rate_limit"
            assert explanation["reasons"][0]["text"].endswith("for attempt 2 after rate_limit")


async def test_failed_chat(dsn: str) -> None:
    provider = scripted([{"error": {"status": 401}}])
    async with running_daemon(dsn, provider) as chatd:
        chat_id = (await chatd.api.create("hello"))["id"]
        chat = await chatd.api.wait_for_status(chat_id, "error")
        explanation = await explained(chatd, chat_id)
        assert codes(explanation) == ["failed"]
        assert explanation["last_failure"] == chat["last_error_detail"]
        assert "auth" in explanation["reasons"][0]["text"]


async def test_chat_of_a_stopping_or_dead_worker(dsn: str, database: Database) -> None:
    gate = asyncio.Event()

    async def act(_: ModelRequest) -> AsyncIterator[Delta]:
        yield text_delta("I begin")
        try:
            await gate.wait()
        finally:
            await gate.wait()
        yield finished()

    worker = {"reap_interval_seconds": 3600, "heartbeat_seconds": 1000, "lease_seconds": 3600}
    async with running_daemon(dsn, FunctionProvider(act), worker=worker) as chatd:
        chat_id = (await chatd.api.create("hello"))["id"]
        await chatd.api.wait_for_status(chat_id, "running")
        assert codes(await explained(chatd, chat_id)) == ["activity_unknown"]
        await database.fetch("UPDATE chats SET recoveries = 1")
        await database.fetch("UPDATE workers SET heartbeat_at = heartbeat_at - interval '2 hours'")
        explanation = await explained(chatd, chat_id)
        assert codes(explanation) == ["lease_expired", "activity_unknown", "recovered"]
        assert explanation["lease_left_seconds"] < -3000
        await database.fetch("UPDATE chats SET recoveries = 0")
        await database.fetch("DELETE FROM workers")
        await database.fetch("UPDATE chats SET status = 'interrupting'")
        explanation = await explained(chatd, chat_id)
        assert codes(explanation) == ["stopping", "activity_unknown"]
        assert explanation["worker"]["host"] is None
        await database.fetch("UPDATE chats SET status = 'running'")
        gate.set()
        await chatd.api.wait_for_status(chat_id, "waiting")


async def test_chat_that_requires_action(dsn: str, database: Database) -> None:
    async with running_daemon(dsn) as chatd:
        chat_id = (await chatd.api.create())["id"]
        await database.fetch(
            "UPDATE chats SET status = 'requires_action',"
            " action_deadline = clock_timestamp() + interval '300 seconds'"
        )
        explanation = await explained(chatd, chat_id)
        assert codes(explanation) == ["awaiting_tool_results"]
        assert explanation["action_deadline"] in (await chatd.api.chat(chat_id)).values()
