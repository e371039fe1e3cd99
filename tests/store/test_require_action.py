"""Calls of client tools: recorded, and the lease released until a deadline."""

from typing import Any

import pytest
from support.claims import claim_chats
from support.factories import WORKER, chat_with_status, insert_tool_calls, tool_call_content
from support.tool_results import stored_tool_calls, submit_results, tool_results
from support.transitions import asked_calls

from chatd.domain.chat import Status
from chatd.domain.message import NewMessage, Role
from chatd.store.commands import RequireAction
from chatd.store.database import Database
from chatd.store.turns import FencingToken, Turns


def require_action_fields(*ids: str) -> dict[str, Any]:
    calls = tool_call_content(*ids)
    return {
        "messages": [NewMessage(role=Role.ASSISTANT, content=calls)],
        "calls": asked_calls(calls),
        "timeouts": {"result": 60.0},
        "settled_part": 1,
    }


async def test_require_action_releases_the_lease_until_a_deadline(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING, queued=1, attempts=2, recoveries=1)
    result = await Turns(database).apply(
        FencingToken(chat.id, WORKER, chat.epoch),
        RequireAction(step=0, **require_action_fields("b", "a")),
    )
    chat_after = result.chat
    assert (chat_after.worker_id, chat_after.started_at, chat_after.heartbeat_at) == (
        None,
        None,
        None,
    )
    assert (chat_after.committed_steps, chat_after.settled_part, chat_after.queue_length) == (
        1,
        1,
        1,
    )
    assert chat_after.action_deadline is not None
    assert 55 < (chat_after.action_deadline - chat_after.updated_at).total_seconds() <= 60
    assert result.entry is not None
    asked = {"tool_name": "weather", "question": {"kind": "result"}}
    expires = {"expires_at": result.entry.data["deadline"]}
    assert result.entry.data["calls"] == [
        {"tool_call_id": "b", **asked, **expires},
        {"tool_call_id": "a", **asked, **expires},
    ]
    _, _, ledger = await stored_tool_calls(database, chat.id)
    assert [(row["tool_call_id"], row["executor"], row["epoch"]) for row in ledger] == [
        ("b", "client", chat.epoch),
        ("a", "client", chat.epoch),
    ]


async def test_call_id_may_repeat_in_a_later_message(database: Database) -> None:
    chat = await chat_with_status(database, Status.PENDING)
    turns = Turns(database)
    for step in range(3):
        (claim,) = await claim_chats(database, 1)
        epoch = claim.result.chat.epoch
        await turns.apply(
            FencingToken(chat.id, WORKER, epoch),
            RequireAction(step=step, **require_action_fields("same", "b")),
        )
        await submit_results(database, chat, tool_results("b", "same"))
    _, messages, ledger = await stored_tool_calls(database, chat.id)
    assert [m["role"] for m in messages] == ["user", *["assistant", "tool"] * 3]
    assert len(ledger) == 6


@pytest.mark.parametrize("in_ledger", [False, True])
async def test_chat_claimed_with_ledger_requires_action_again(
    database: Database, in_ledger: bool
) -> None:
    chat = await chat_with_status(database, Status.RUNNING)
    message_id = await insert_tool_calls(database, chat.id, "c1")
    if in_ledger:
        await database.fetch(
            "UPDATE chat_tool_calls SET state = 'closed', completed_at = started_at,"
            " is_error = true, answer = '{}'"
        )
    else:
        await database.fetch("DELETE FROM chat_tool_calls")
    (part,) = tool_call_content("c1")
    result = await Turns(database).apply(
        FencingToken(chat.id, WORKER, chat.epoch),
        RequireAction(
            step=0,
            **{
                **require_action_fields(),
                "messages": [],
                "calls": asked_calls([part], message_id),
            },
        ),
    )
    assert result.chat.status is Status.REQUIRES_ACTION
    _, _, (row,) = await stored_tool_calls(database, chat.id)
    assert row["message_id"] == message_id
    await submit_results(database, chat, tool_results("c1"))
    await stored_tool_calls(database, chat.id)
