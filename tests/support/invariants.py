"""Invariants of every chat that only transitions have changed, checked on the stored rows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from chatd.domain.chat import IDLE, Status
from chatd.domain.transitions import TABLE, Transition
from chatd.store.database import Database

Row = Any

MOST_MESSAGE_BYTES = 2000
"""More than a transition of a test stores in messages."""


def reachable_statuses(transition: Transition, status: Status | None) -> set[Status]:
    """Return every status that the table lets ``transition`` lead to from ``status``."""
    return {
        to
        for (of, _), cells in TABLE.items()
        if of is transition and (cell := cells.get(status)) is not None
        for to in cell.statuses
    }


async def check_all(database: Database) -> int:
    """Check every chat of the database. Return the number of journal rows."""
    chats = await database.fetch("SELECT * FROM chats")
    journal = await _by_chat(database, "chat_events", "version")
    messages = await _by_chat(database, "chat_messages", "id")
    queue = await _by_chat(database, "chat_queued_messages", "position, id")
    ledger = await _by_chat(database, "chat_tool_calls", "message_id, position")
    files = await _files_by_chat(database)
    for chat in chats:
        check_files(
            chat,
            [*messages.get(chat["id"], []), *queue.get(chat["id"], [])],
            files.get(chat["id"], {}),
        )
        rows = journal.get(chat["id"], [])
        check_journal(chat, rows)
        check_messages(rows, messages.get(chat["id"], []))
        check_summaries(messages.get(chat["id"], []))
        check_queue(chat, rows, queue.get(chat["id"], []))
        check_calls(chat, messages.get(chat["id"], []), ledger.get(chat["id"], []))
    return sum(map(len, journal.values()))


async def _by_chat(database: Database, table: str, order: str) -> dict[Any, list[Row]]:
    found: dict[Any, list[Row]] = {}
    for row in await database.fetch(f"SELECT * FROM {table} ORDER BY chat_id, {order}"):
        found.setdefault(row["chat_id"], []).append(row)
    return found


async def _files_by_chat(database: Database) -> dict[Any, dict[str, int]]:
    found: dict[Any, dict[str, int]] = {}
    for row in await database.fetch(
        "SELECT chat_id, id, size, length(data) AS length FROM chat_files"
    ):
        assert row["size"] == row["length"]
        found.setdefault(row["chat_id"], {})[str(row["id"])] = row["size"]
    return found


def check_files(chat: Row, messages: Sequence[Row], sizes: dict[str, int]) -> None:
    """Check that the files of messages are stored, and that each counts once among the stored bytes."""
    referred = {
        part["file_id"]: part["size"]
        for message in messages
        for part in message["content"]
        if part["type"] == "file"
    }
    assert referred.items() <= sizes.items()
    of_messages = chat["stored_bytes"] - sum(sizes.values())
    assert 0 <= of_messages < MOST_MESSAGE_BYTES * chat["version"]


NEW_EPOCH = {Transition.CLAIM, Transition.EDIT, Transition.REGENERATE}


def check_journal(chat: Row, rows: Sequence[Row]) -> None:
    assert [row["version"] for row in rows] == list(range(1, chat["version"] + 1))
    assert (rows[-1]["status"], rows[-1]["epoch"]) == (chat["status"], chat["epoch"])
    status: Status | None = None
    epoch = last_settled = 0
    for row in rows:
        transition = Transition(row["transition"])
        assert Status(row["status"]) in reachable_statuses(transition, status), (status, dict(row))
        assert row["epoch"] == epoch + (transition in NEW_EPOCH), dict(row)
        if transition in NEW_EPOCH:
            last_settled = 0
        if (settled := row["data"].get("settled_part")) is not None:
            assert settled > last_settled, dict(row)
            last_settled = settled
        status, epoch = Status(row["status"]), row["epoch"]
    assert last_settled == chat["settled_part"]
    times = [row["created_at"] for row in rows]
    assert times == sorted(times)


def check_messages(rows: Sequence[Row], messages: Sequence[Row]) -> None:
    """Check that journal rows name the messages that they stored, in order, and those superseded."""
    journaled = [
        (row["version"], message_id)
        for row in rows
        for message_id in row["data"].get("messages") or ()
    ]
    stored = [(message["version"], message["id"]) for message in messages]
    assert journaled == stored[rows[0]["data"].get("copied_messages", 0) :]
    resets = [
        (row["version"], row["data"]["reset_from"], row["transition"] == Transition.REGENERATE)
        for row in rows
        if "reset_from" in row["data"]
    ]
    for message in messages:
        hidden = [
            version
            for version, first, keeps in resets
            if message["version"] < version
            and message["id"] >= first
            and (message["covers_until"] is None or message["covers_until"] >= first - keeps)
        ]
        assert message["superseded_version"] == (hidden[0] if hidden else None), dict(message)


def check_summaries(messages: Sequence[Row]) -> None:
    """Check that each summary in the history covers more than the one before, up to a message of it."""
    history = [message for message in messages if message["superseded_version"] is None]
    covered = [one["covers_until"] for one in history if one["covers_until"] is not None]
    assert covered == sorted(set(covered))
    assert set(covered) <= {one["id"] for one in history if one["covers_until"] is None}


def check_queue(chat: Row, rows: Sequence[Row], queue: Sequence[Row]) -> None:
    waiting: set[int] = set()
    for row in rows:
        data = row["data"]
        if (queued := data.get("queued")) is not None:
            waiting.add(queued)
        if (promoted := data.get("promoted")) is not None:
            waiting.remove(promoted)
        waiting -= set(data.get("removed", ()))
        if "queue_length" in data:
            assert data["queue_length"] == len(waiting), dict(row)
        assert row["status"] != Status.WAITING or not waiting, dict(row)
    assert waiting == {row["id"] for row in queue}
    assert chat["queue_length"] == len(queue)


def check_calls(chat: Row, messages: Sequence[Row], ledger: Sequence[Row]) -> None:
    """Check that every call has exactly one result, in its order, or is what the chat waits for."""
    waiting: dict[str, int] = {}
    for message in messages:
        if message["superseded_version"] is not None:
            continue
        assert message["role"] != "user" or not waiting, "a user message after an open call"
        parts = message["content"]
        for part in parts:
            if part["type"] == "tool-call":
                assert part["tool_call_id"] not in waiting
                waiting[part["tool_call_id"]] = message["id"]
        answered = [part["tool_call_id"] for part in parts if part["type"] == "tool-result"]
        assert answered == [call_id for call_id in waiting if call_id in answered], (
            "each once, in their order"
        )
        for call_id in answered:
            del waiting[call_id]
    check_ledger(chat, waiting, messages, ledger)


def check_ledger(
    chat: Row, waiting: Mapping[str, int], messages: Sequence[Row], ledger: Sequence[Row]
) -> None:
    """Check the rows of the ledger: those of ``waiting``, which have no result in a message, and others."""
    unanswered = [row for row in ledger if row["message_id"] in waiting.values()]
    states = [row["state"] for row in unanswered]
    assert [row["tool_call_id"] for row in unanswered] == list(waiting), "each call has its row"
    assert all(row["state"] == "closed" for row in ledger if row not in unanswered)
    if waiting:
        assert chat["status"] not in IDLE, "a call is open and nobody is to answer it"
        assert set(states) != {"closed"}, "all have their results, but there is no message of them"
    if chat["status"] == Status.REQUIRES_ACTION:
        assert "asked" in states
        assert set(states) <= {"asked", "ready", "closed"}, "nothing runs meanwhile"
        deadlines = [row["expires_at"] for row in unanswered if row["state"] == "asked"]
        assert None in deadlines or min(deadlines) == chat["action_deadline"]
    if chat["status"] == Status.PARKED:
        assert set(states) - {"closed"} == {"parked"}, "nothing runs or is asked meanwhile"
        assert chat["action_deadline"] >= max(
            row["wake_at"] for row in unanswered if row["state"] == "parked"
        )
    else:
        assert "parked" not in states
    answers = {
        (previous["id"], part["tool_call_id"]): part
        for previous, message in pairwise(messages)
        if message["role"] == "tool"
        for part in message["content"]
    }
    for row in ledger:
        answer = answers.get((row["message_id"], row["tool_call_id"]))
        assert answer is None or row["answer"] == answer, "the message has what was stored first"


def texts(messages: Sequence[Row], role: str = "user") -> list[str]:
    """Return the texts of the messages of a role, in order."""
    own = [row for row in messages if row["role"] == role and row.get("covers_until") is None]
    return [row["content"][0]["text"] for row in own]


def has_no_duplicates(values: Sequence[str]) -> bool:
    """Return True if no value occurs twice."""
    return not values or max(Counter(values).values()) == 1
