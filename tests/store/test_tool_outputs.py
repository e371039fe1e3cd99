"""Outputs of which a result has a part: stored with it, read by their chat, counted, and deleted."""

from typing import Any

import pytest
from support.factories import WORKER, chat_with_status, insert_tool_calls
from support.files import whole_png
from support.sweeps import DAY, delete_expired

from chatd.domain.chat import Chat, Status
from chatd.domain.files import new_file
from chatd.domain.tool_call import CutOutput, ToolResult
from chatd.store.commands import CloseCalls, Fail, FinishInterrupt
from chatd.store.database import Database
from chatd.store.reads import ChatReader
from chatd.store.sweeps import TOOL_OUTPUTS
from chatd.store.turns import FencingToken, Turns
from chatd.store.worker_command import WorkerCommand

OUTPUT = "é" * 5000
BYTES = 10_000


def cut(call_id: str, output: str = OUTPUT) -> ToolResult:
    size = len(output.encode())
    return ToolResult(
        tool_call_id=call_id,
        result="head and tail",
        cut=CutOutput(total_bytes=2 * size, kept=output),
    )


def close(*results: ToolResult, step: int = 0) -> CloseCalls:
    return CloseCalls(step=step, results=results, settled_part=0)


async def apply(database: Database, chat: Chat, command: WorkerCommand) -> Chat:
    fence = FencingToken(chat.id, WORKER, chat.epoch)
    return (await Turns(database).apply(fence, command)).chat


async def stored_bytes(database: Database, chat: Chat) -> int:
    return (await ChatReader(database).chat(chat.id, owner_id=None)).stored_bytes


async def test_output_is_stored_with_its_result_and_counts_once(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING)
    await insert_tool_calls(database, chat.id, "c1", "c2", state="started")
    before = await stored_bytes(database, chat)
    for _ in range(2):  # the response of the first one was lost
        await apply(database, chat, close(cut("c1")))
        assert await stored_bytes(database, chat) == before + BYTES
    last = await apply(database, chat, close(cut("c1"), ToolResult(tool_call_id="c2", result=1)))
    assert BYTES < last.stored_bytes - before < BYTES + 1000
    [row] = await database.fetch("SELECT answer FROM chat_tool_calls WHERE tool_call_id = 'c1'")
    assert row["answer"]["output_bytes"] == 2 * BYTES
    assert "output" not in row["answer"]


FAILURE: dict[str, Any] = {"last_error": "x", "last_error_detail": {}}


@pytest.mark.parametrize("ends", [FinishInterrupt, Fail])
async def test_turn_that_ends_early_stores_the_outputs_that_are_there(
    ends: type[WorkerCommand], database: Database
) -> None:
    status = Status.INTERRUPTING if ends is FinishInterrupt else Status.RUNNING
    chat = await chat_with_status(database, status)
    await insert_tool_calls(database, chat.id, "c1", "c2", state="started")
    before = await stored_bytes(database, chat)
    values: dict[str, Any] = {"messages": []} if ends is FinishInterrupt else FAILURE
    command = ends(step=0, settled_part=0, results=[cut("c1"), cut("other")], **values)
    after = await apply(database, chat, command)
    assert BYTES < after.stored_bytes - before < BYTES + 1000
    assert len(await database.fetch("SELECT FROM chat_tool_outputs")) == 1


async def test_failed_turn_keeps_results_without_their_images(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING)
    await insert_tool_calls(database, chat.id, "c1", state="started")
    image = new_file(whole_png(), media_type="image/png")
    result = ToolResult(tool_call_id="c1", result="[image 1]", files=[image])
    await apply(database, chat, Fail(step=0, settled_part=0, results=[result], **FAILURE))
    [row] = await database.fetch("SELECT answer FROM chat_tool_calls")
    assert row["answer"]["result"] == "[image 1]\n(Its images were not kept.)"
    assert "files" not in row["answer"]
    assert not await database.fetch("SELECT FROM chat_files")


async def test_latest_call_of_an_id_is_read_and_no_other_chats(database: Database) -> None:
    chat, other = [await chat_with_status(database, Status.RUNNING) for _ in range(2)]
    for _ in range(2):
        await insert_tool_calls(database, chat.id, "c1", state="started")
    await apply(database, chat, close(cut("c1", "old")))
    await database.fetch(
        "UPDATE chat_tool_outputs SET body = 'second', total_bytes = 12"
        " WHERE message_id = (SELECT max(message_id) FROM chat_tool_outputs)"
    )
    turns = Turns(database)
    span = await turns.read_output(chat.id, "c1", offset=1, length=3)
    assert span is not None
    assert (span.data, span.kept_bytes, span.total_bytes) == (b"eco", 6, 12)
    far = await turns.read_output(chat.id, "c1", offset=2**31 - 2, length=3)
    assert far is not None
    assert far.data == b""
    assert await turns.read_output(other.id, "c1", offset=0, length=3) is None
    assert await turns.read_output(chat.id, "c2", offset=0, length=3) is None


async def test_expired_outputs_are_deleted_and_no_longer_count(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING)
    await insert_tool_calls(database, chat.id, "c1", "c2", "c3", state="started")
    chat_before = await apply(database, chat, close(cut("c1"), cut("c2"), cut("c3", "short")))
    await database.fetch(
        "UPDATE chat_tool_outputs SET created_at = clock_timestamp() - interval '8 days'"
        " WHERE tool_call_id <> 'c3'"
    )
    assert await delete_expired(database, TOOL_OUTPUTS, retention_seconds=7 * DAY) == 2
    [row] = await database.fetch("SELECT tool_call_id FROM chat_tool_outputs")
    assert row["tool_call_id"] == "c3"
    after = await ChatReader(database).chat(chat.id, owner_id=None)
    assert after.stored_bytes == chat_before.stored_bytes - 2 * BYTES
    assert after.version == chat_before.version, "nobody is shown a change"
