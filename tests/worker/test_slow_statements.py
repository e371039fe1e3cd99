"""Statements of a worker that run out of time: tried again, and after three times the chat fails."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from support.in_process import InProcessDaemon, running_daemon
from support.providers import FunctionProvider, finished, text_delta

from chatd.llm.provider import Delta, ModelRequest
from chatd.store.database import Database

SHORT = {"statement_timeout_seconds": 2.5}
ATTEMPTS = 3
SLOW_FINISH = """
CREATE SEQUENCE slow_finishes;
CREATE FUNCTION finish_slowly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('slow_finishes') <= {slow_attempts} THEN PERFORM pg_sleep(60); END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER slow BEFORE UPDATE ON chats FOR EACH ROW
WHEN (OLD.status = 'running' AND NEW.status = 'waiting') EXECUTE FUNCTION finish_slowly();
"""
"""Trigger that makes the first ends of turns take longer than any statement may."""


@asynccontextmanager
async def worker(dsn: str, provider: FunctionProvider) -> AsyncIterator[InProcessDaemon]:
    """Run a daemon whose heartbeat does not touch the rows that the test has locked."""
    leases = {"heartbeat_seconds": 600, "lease_seconds": 1800}
    async with running_daemon(
        dsn, provider, database={"pool_size": 5, **SHORT}, worker=leases
    ) as chatd:
        yield chatd


async def answer(_: ModelRequest) -> AsyncIterator[Delta]:
    yield text_delta("an answer")
    yield finished()


async def check_failed(chatd: InProcessDaemon, chat_id: str) -> None:
    failed = await chatd.api.wait_for_status(chat_id, "error")
    assert failed["last_error_detail"]["kind"] == "timeout"
    assert "took too long" in failed["last_error"]
    assert [entry["transition"] for entry in await chatd.journal(chat_id)] == [
        *("create", "claim", "fail")
    ]
    assert not chatd.logged("chat.panicked")
    assert not chatd.logged("chat.lost")


async def attempts_of_finish(database: Database) -> int:
    """Return how often the trigger was called. A sequence counts also what is rolled back."""
    [row] = await database.fetch("SELECT last_value FROM slow_finishes")
    return int(row["last_value"])


@pytest.mark.parametrize("slow_attempts", [1, ATTEMPTS - 1])
async def test_answer_is_stored_once_the_statement_is_in_time(
    slow_attempts: int, dsn: str, database: Database
) -> None:
    provider = FunctionProvider(answer)
    async with database.dedicated_connection() as connection:
        await connection.execute(SLOW_FINISH.format(slow_attempts=slow_attempts))
    async with worker(dsn, provider) as chatd:
        chat = await chatd.api.create("hello")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await chatd.api.texts(chat["id"]) == ["an answer"]
        assert await attempts_of_finish(database) == slow_attempts + 1
        assert len(provider.requests) == 1, "the model is not asked again"
        assert not chatd.logged("chat.failed")


async def test_chat_fails_when_its_answer_is_always_stored_too_slowly(
    dsn: str, database: Database
) -> None:
    provider = FunctionProvider(answer)
    async with database.dedicated_connection() as connection:
        await connection.execute(SLOW_FINISH.format(slow_attempts=1000))
    async with worker(dsn, provider) as chatd:
        chat = await chatd.api.create("hello")
        await check_failed(chatd, chat["id"])
        # One more if the first one used up the time limit of the client: on a new connection it may.
        assert await attempts_of_finish(database) in {ATTEMPTS, ATTEMPTS + 1}
        assert len(provider.requests) == 1
        await database.fetch("DROP TRIGGER slow ON chats")
        await chatd.api.send(chat["id"], "once more")
        await chatd.api.wait_for_status(chat["id"], "waiting")


async def test_failure_is_stored_when_the_lock_of_the_chat_is_released(
    dsn: str, database: Database
) -> None:
    """A lock on the row of the chat stalls the answer and then also the failure, until it is released."""
    async with database.dedicated_connection() as blocker:
        transaction = blocker.transaction()

        async def lock(_: ModelRequest) -> AsyncIterator[Delta]:
            assert await blocker.fetch("SELECT id FROM chats FOR UPDATE")
            yield text_delta("an answer")
            yield finished()

        await transaction.start()
        async with worker(dsn, FunctionProvider(lock)) as chatd:
            chat = await chatd.api.create("hello")
            logged = await chatd.wait_for_log("chat.failed")
            assert logged["kind"] == "timeout"
            await transaction.rollback()
            await check_failed(chatd, chat["id"])


async def test_chat_fails_while_its_history_cannot_be_read(dsn: str, database: Database) -> None:
    async with running_daemon(dsn, worker={"enabled": False}) as front:
        chat = await front.api.create("hello")
    provider = FunctionProvider(answer)
    async with database.dedicated_connection() as blocker, blocker.transaction():
        await blocker.execute("LOCK TABLE chat_tools IN ACCESS EXCLUSIVE MODE")
        async with worker(dsn, provider) as chatd:
            await check_failed(chatd, chat["id"])
            assert provider.requests == []
