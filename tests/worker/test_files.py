"""Files of a chat on their way to a provider: read for each request, and for nothing else."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from support.captured_requests import CapturingProvider
from support.eventually import eventually
from support.files import PNG, file_input
from support.in_process import running_daemon
from support.providers import FunctionProvider, finished, text_delta

from chatd.domain.files import PIECE_BYTES, FileSpan
from chatd.llm.provider import Delta, ModelRequest
from chatd.store.database import Database

LARGE = PNG + bytes(range(251)) * (PIECE_BYTES // 100)
KINDS = ("openai", "anthropic", "openai-compatible")


@pytest.mark.parametrize("kind", KINDS)
async def test_provider_gets_the_bytes_that_were_sent(kind: str, dsn: str) -> None:
    """Also in a later step, after edits, and of a file that was sent twice."""
    captured = CapturingProvider(kind, name="acme")
    bodies: list[str] = []

    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        bodies.append(
            json.dumps(
                await captured.body(request.messages, read_files=request.read_files),
                ensure_ascii=False,
            )
        )
        yield text_delta("I see.")
        yield finished()

    small, large = b64encode(PNG + b"!").decode(), b64encode(LARGE).decode()
    content = [
        file_input("image/png", LARGE),
        file_input("image/png", PNG + b"!"),
        file_input("text/csv; charset=latin-1", "a;\u00fc".encode("latin-1")),
        file_input("image/png", LARGE),
    ]
    async with running_daemon(dsn, FunctionProvider(act)) as chatd:
        chat = await chatd.api.create(content=content)
        await chatd.api.wait_for_status(chat["id"], "waiting")
        await chatd.api.send(chat["id"], [*content[1:2]])  # type: ignore[arg-type]
        await chatd.api.wait_for_status(chat["id"], "waiting")
        message = (await chatd.api.messages(chat["id"]))[0]
        await chatd.api.edit(chat["id"], message["id"], [*content[:1]])  # type: ignore[arg-type]
        await chatd.api.wait_for_status(chat["id"], "waiting")
    await captured.aclose()
    assert [body.count(large) for body in bodies] == [2, 2, 1]
    assert [body.count(small) for body in bodies] == [1, 2, 0]
    assert ["a;\u00fc" in body for body in bodies] == [True, True, False]


async def read_first_file(request: ModelRequest) -> bytes:
    """Read the first piece of the first file. Fail as an SDK does that hides the error."""
    part = next(part for part in request.messages[0].content if part["type"] == "file")
    try:
        [data] = await request.read_files([FileSpan(UUID(part["file_id"]), 0, 3)])
    except Exception as error:
        raise ConnectionError("Connection error.") from error
    return data


async def test_chat_that_is_deleted_while_its_files_are_sent_is_lost(dsn: str) -> None:
    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        await chatd.api.http.delete(f"/api/v1/chats/{request.messages[0].chat_id}")
        await read_first_file(request)
        yield finished()

    async with running_daemon(dsn, FunctionProvider(act)) as chatd:
        await chatd.api.create(content=[file_input("image/png", PNG)])
        assert (await chatd.wait_for_log("chat.lost"))["reason"] == "deleted"
        await eventually(lambda: not chatd.daemon.chat_tasks.leases)
        assert not chatd.logged("chat.panicked")


async def test_files_that_are_read_too_slowly_fail_the_chat_with_a_reason(
    dsn: str, database: Database
) -> None:
    provider_ran = 0

    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        nonlocal provider_ran
        provider_ran += 1
        await read_first_file(request)
        yield finished()

    async with running_daemon(dsn, worker={"enabled": False}) as front:
        chat = await front.api.create(content=[file_input("image/png", PNG)])
    short = {"pool_size": 5, "statement_timeout_seconds": 0.8}
    async with database.dedicated_connection() as blocker, blocker.transaction():
        await blocker.execute("LOCK TABLE chat_files IN ACCESS EXCLUSIVE MODE")
        async with running_daemon(dsn, FunctionProvider(act), database=short) as chatd:
            failed = await chatd.api.wait_for_status(chat["id"], "error")
            assert failed["last_error_detail"]["kind"] == "timeout"
            assert "took too long" in failed["last_error"]
            assert provider_ran == 1
