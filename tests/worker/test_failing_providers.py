"""Failing providers: bounded attempts, a classified reason, and a chat that goes on."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.eventually import eventually
from support.in_process import (
    NO_RENEWALS,
    InProcessDaemon,
    fetch_rows,
    running_daemon,
    running_daemons,
)
from support.leases import orphan_chats
from support.providers import FunctionProvider, finished, last_user_text, scripted, text_delta
from support.sse_client import ChatView

from chatd.domain.failure import RETRYABLE, FailureKind
from chatd.llm.errors import ProviderError
from chatd.llm.provider import Delta, ModelRequest
from chatd.store.database import Database

FAILING: dict[str, tuple[list[dict[str, Any]], FailureKind, int | None]] = {
    "unauthorized": ([{"error": {"status": 401}}], FailureKind.AUTH, 401),
    "endless-500": ([{"error": {"status": 500}}], FailureKind.PROVIDER_ERROR, 500),
    "500-after-text": (
        [{"text": "Half an answer", "chunks": 3}, {"error": {"status": 500}}],
        FailureKind.PROVIDER_ERROR,
        500,
    ),
    "cut": ([{"text": "Half an"}, {"cut": True}], FailureKind.TRUNCATED, None),
    "empty": ([{"cut": True}], FailureKind.TRUNCATED, None),
    "silent": ([{"hang": True}], FailureKind.STREAM_IDLE, None),
    "silent-after-text": ([{"text": "Half"}, {"hang": True}], FailureKind.STREAM_IDLE, None),
    "garbage": ([{"error": {"transport": "garbled"}}], FailureKind.PROVIDER_ERROR, None),
    "reset": ([{"error": {"transport": "reset"}}], FailureKind.NETWORK, None),
    "refused": ([{"error": {"transport": "refused"}}], FailureKind.NETWORK, None),
    "too-long": (
        [{"error": {"status": 400, "code": "context_length_exceeded"}}],
        FailureKind.CONTEXT_LIMIT,
        400,
    ),
    "asked-to-wait-for-long": (
        [{"error": {"status": 429, "retry_after": 3600}}],
        FailureKind.RATE_LIMIT,
        429,
    ),
}
SILENCE = {"stream_idle_timeout_seconds": 0.5}


async def test_every_failure_is_stored_and_the_chat_goes_on_after_it(dsn: str) -> None:
    provider = scripted(**{name: steps for name, (steps, _, _) in FAILING.items()})
    async with running_daemon(dsn, provider, turn=SILENCE) as chatd:
        api = chatd.api
        chats = {name: (await api.create(f"[[{name}]] hi"))["id"] for name in FAILING}
        for name, chat_id in chats.items():
            _, kind, status = FAILING[name]
            chat = await api.wait_for_status(chat_id, "error")
            detail = chat["last_error_detail"]
            assert (detail["kind"], detail["status_code"]) == (kind, status), name
            patient = kind in RETRYABLE and name != "asked-to-wait-for-long"
            assert detail["attempts"] == (3 if patient else 1), name
            assert detail["retryable"] is (kind in RETRYABLE), name
            assert (detail["provider"], detail["model"]) == ("scripted", "one"), name
            assert detail["message"] == chat["last_error"] != "", name
            assert len(await chatd.journal(chat_id, "record_retry")) == (2 if patient else 0), name
            assert await api.texts(chat_id) == [], name
        for chat_id in chats.values():
            assert (await api.send(chat_id, "better now"))["chat"]["status"] == "pending"
        for chat_id in chats.values():
            assert (await api.wait_for_status(chat_id, "waiting"))["last_error"] is None
            assert await api.texts(chat_id) == ["You said: better now"]


async def test_slow_stream_ends_at_the_model_call_timeout(dsn: str) -> None:
    provider = scripted(trickle=[{"text": "x" * 10_000, "chunks": 10_000, "delay_seconds": 0.01}])
    limits = {
        "model_call_timeout_seconds": 0.2,
        "stream_idle_timeout_seconds": 5,
        "max_attempts": 2,
    }
    async with running_daemon(dsn, provider, turn=limits) as chatd:
        chat = await chatd.api.create("[[trickle]]")
        detail = (await chatd.api.wait_for_status(chat["id"], "error"))["last_error_detail"]
        assert (detail["kind"], detail["attempts"]) == ("timeout", 2)


async def test_turn_ends_at_its_timeout(dsn: str) -> None:
    provider = scripted(flaky=[{"error": {"status": 500}}])
    limits = {
        "timeout_seconds": 2,
        "backoff_seconds": 20,
        "backoff_max_seconds": 60,
        "max_attempts": 99,
    }
    async with running_daemon(dsn, provider, turn=limits) as chatd:
        chat = await chatd.api.create("[[flaky]]")
        failed = await chatd.api.wait_for_status(chat["id"], "error")
        assert failed["last_error_detail"]["kind"] == "timeout"
        assert "turn" in failed["last_error"]
        await chatd.api.send(chat["id"], "hello")
        await chatd.api.wait_for_status(chat["id"], "waiting")


async def test_requested_pause_is_waited_for_beyond_the_longest_backoff(dsn: str) -> None:
    provider = scripted(
        busy=[
            {"error": {"status": 429, "retry_after": 1}, "attempts": [1]},
            {"text": "Now there is time."},
        ]
    )
    async with running_daemon(dsn, provider, turn={"backoff_max_seconds": 0.02}) as chatd:
        chat = await chatd.api.create("[[busy]]")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await chatd.api.texts(chat["id"]) == ["Now there is time."]
        (retry,) = chatd.logged("chat.retry")
        assert retry["delay_seconds"] == 1


async def test_retry_is_streamed_and_resets_the_preview(dsn: str) -> None:
    provider = scripted(
        flaky=[
            {"text": "First, wrong", "chunks": 3, "attempts": [1, 2]},
            {"error": {"status": 503, "retry_after": 0.01}, "attempts": [1, 2]},
            {"text": "Third time lucky", "chunks": 4},
        ]
    )
    async with running_daemon(dsn, provider) as chatd:
        chat = await chatd.api.create()
        view = ChatView()

        async def speak() -> None:
            await eventually(lambda: view.status == "waiting")
            await chatd.api.send(chat["id"], "[[flaky]] go")

        speaking = asyncio.create_task(speak())
        await chatd.api.follow(chat["id"], view, lambda view: len(view.messages) == 2)
        await speaking
        kinds = [e.event for e in view.events]
        assert kinds.count("preview_reset") == kinds.count("retry") == 2
        retries = [e.data for e in view.events if e.event == "retry"]
        assert [r["attempt"] for r in retries] == [1, 2]
        assert {r["failure"]["kind"] for r in retries} == {"overloaded"}
        assert all(r["delay_seconds"] >= 0.01 and r["next_attempt_at"] for r in retries)
        first_reset = kinds.index("preview_reset")
        before = [e.data["text"] for e in view.events[:first_reset] if e.event == "message_part"]
        assert "".join(before) == "First, wrong"  # it was streamed, then reset
        after = kinds.index("retry") - first_reset
        assert after == 1
        assert list(view.messages.values()) == ["[[flaky]] go", "Third time lucky"]


async def test_failure_after_text_resets_the_preview_before_the_error(dsn: str) -> None:
    provider = scripted(bad=[{"text": "Half", "chunks": 2}, {"error": {"status": 401}}])
    async with running_daemon(dsn, provider) as chatd:
        chat = await chatd.api.create()
        view = ChatView()

        async def speak() -> None:
            await eventually(lambda: view.status == "waiting")
            await chatd.api.send(chat["id"], "[[bad]]")

        speaking = asyncio.create_task(speak())
        await chatd.api.follow(chat["id"], view, lambda view: view.status == "error")
        await speaking
        told = [e.event for e in view.events]
        assert told[-3:] == ["preview_reset", "error", "status"]
        assert told.count("message_part") == 2
        [error] = [e.data for e in view.events if e.event == "error"]
        stored = await chatd.api.chat(chat["id"])
        assert error["last_error"] == stored["last_error"]
        assert error["last_error_detail"] == stored["last_error_detail"]


async def test_restart_in_a_backoff_keeps_attempts_and_delay(dsn: str, database: Database) -> None:
    """The second process keeps the count and does not retry too early."""
    calls: list[str] = []

    def fail(_: ModelRequest) -> None:
        calls.append("call")
        raise ProviderError("no", status_code=500)

    provider = scripted()
    provider.on_call = fail
    patient = {"backoff_seconds": 2, "backoff_max_seconds": 2, "max_attempts": 2}
    async with running_daemon(dsn, provider, turn=patient) as first:
        chat = await first.api.create("hello")
        await eventually(lambda: first.journal(chat["id"], "record_retry"))
        await first.stop()
    [row] = await fetch_rows(database, "SELECT status, attempts, next_attempt_at FROM chats")
    assert (row["status"], row["attempts"], len(calls)) == ("pending", 1, 1)
    async with running_daemon(dsn, provider, turn=patient) as second:
        failed = await second.api.wait_for_status(chat["id"], "error")
        [event] = await second.journal(chat["id"], "fail")
        assert len(calls) == 2
        assert failed["last_error_detail"]["attempts"] == 2
        [at] = await fetch_rows(
            database, "SELECT created_at FROM chat_events WHERE transition = 'fail'"
        )
        assert at["created_at"] >= row["next_attempt_at"]
        assert event["epoch"] == 2


async def test_committed_step_resets_the_attempts(dsn: str) -> None:
    """Two failures before the first step and two before the second do not add up to four."""
    provider = scripted(
        twice=[
            {"error": {"status": 500}, "attempts": [1, 2]},
            {"tool_call": {"name": "nothing"}, "calls": [1]},
            {"text": "done", "calls": [2]},
        ]
    )
    async with running_daemon(dsn, provider) as chatd:
        chat = await chatd.api.create("[[twice]]")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert (await chatd.api.texts(chat["id"]))[-1] == "done"
        assert [e["data"]["attempt"] for e in await chatd.journal(chat["id"], "record_retry")] == [
            1,
            2,
            1,
            2,
        ]


async def test_chat_of_a_model_that_no_worker_has_fails(dsn: str) -> None:
    async with running_daemon(dsn, models=("one", "gone")) as chatd:
        chat = await chatd.api.create(model="gone")
    grace = {"unserved_model_seconds": 0.2, "reap_interval_seconds": 0.05}
    async with running_daemon(dsn, models=("one",), worker=grace) as chatd:
        sent = await chatd.api.send(chat["id"], "hello")
        assert sent["chat"]["model"] == "gone"
        failed = await chatd.api.wait_for_status(chat["id"], "error")
        assert failed["last_error_detail"]["kind"] == "configuration"
        assert failed["last_error"] == "no running worker has the model gone"
        await chatd.api.send(chat["id"], "hello", model="one")
        assert (await chatd.api.wait_for_status(chat["id"], "waiting"))["model"] == "one"


async def test_backoffs_of_twenty_chats_hold_no_slot(dsn: str) -> None:
    """Twenty chats wait in their backoff. The twenty-first is answered, although there are two slots."""
    patient = {"backoff_seconds": 30, "backoff_max_seconds": 30}
    provider = scripted(bad=[{"error": {"status": 500}}])
    async with running_daemon(dsn, provider, turn=patient, worker={"max_chats": 2}) as chatd:
        bad = [(await chatd.api.create("[[bad]]"))["id"] for _ in range(20)]
        for chat_id in bad:
            await eventually(lambda chat_id=chat_id: chatd.journal(chat_id, "defer"))
        good = await chatd.api.create("good")
        await chatd.api.wait_for_status(good["id"], "waiting")
        assert {(await chatd.api.chat(c))["status"] for c in bad} == {"pending"}


async def test_provider_messages_are_sanitized(dsn: str) -> None:
    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        if last_user_text(request) == "fail":
            raise ProviderError("bad key sk-live-0123456789abcdef \x00\ud800", status_code=401)
        yield text_delta("nul \x00, lone \ud800, fine \U0001f600")
        yield finished()

    async with running_daemon(dsn, FunctionProvider(act)) as chatd:
        failed = await chatd.api.create("fail")
        told = await chatd.api.wait_for_status(failed["id"], "error")
        assert "0123456789abcdef" not in str(told)
        chat = await chatd.api.create("odd")
        view = await chatd.api.follow(
            chat["id"],
            ChatView(),
            lambda view: view.status == "waiting" and len(view.messages) == 2,
        )
        expected = "nul \ufffd, lone \ufffd, fine \U0001f600"
        assert list(view.messages.values())[-1] == expected
        assert await chatd.api.texts(chat["id"]) == [expected]


@pytest.mark.parametrize("how", ["stop", "crash"])
async def test_takeover_keeps_the_attempts(dsn: str, database: Database, how: str) -> None:
    """The worker that takes over after a failed attempt has one attempt less."""
    provider = scripted()

    def fail(_: ModelRequest) -> None:
        raise ProviderError("no", status_code=500)

    provider.on_call = fail
    patient = {"backoff_seconds": 0.6, "backoff_max_seconds": 0.6, "max_attempts": 3}
    worker = {**NO_RENEWALS, "reap_interval_seconds": 0.1, "poll_seconds": 0.1}
    async with running_daemons(dsn, [provider, provider], turn=patient, worker=worker) as daemons:
        chat = await daemons[0].api.create("hello")
        [retry, *_] = await eventually(lambda: daemons[0].journal(chat["id"], "record_retry"))
        owner = await daemon_of(daemons, retry["worker_id"])
        if how == "stop":
            await owner.stop()
        else:
            await orphan_chats(database, chat["id"])
        other = next(d for d in daemons if d is not owner)
        failed = await other.api.wait_for_status(chat["id"], "error")
        assert failed["last_error_detail"]["attempts"] == 3
        assert [e["data"]["attempt"] for e in await other.journal(chat["id"], "record_retry")] == [
            1,
            2,
        ]


async def daemon_of(daemons: list[InProcessDaemon], worker_id: str) -> InProcessDaemon:
    return next(d for d in daemons if str(d.daemon.worker_id) == worker_id)
