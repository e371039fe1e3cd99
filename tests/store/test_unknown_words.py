"""A chat in a status that only a newer version knows: no transition of this one takes it out of that."""

from collections.abc import Mapping

import pytest
from support.factories import OWNER, chat_with_status, stored_rows
from support.transitions import NEW_CHAT, NoChatFound, make_transition

from chatd.domain.chat import BusyBehavior, Chat, Status
from chatd.domain.errors import (
    ChatBusy,
    ChatTreeBusy,
    LeaseLost,
    NoActionRequired,
    NothingToRetry,
    StatusUnknown,
    ToolCallUnknown,
)
from chatd.domain.transitions import TABLE, WORKER_TRANSITIONS, Transition
from chatd.store.database import Database
from chatd.store.reads import ChatReader

NEWER_SCHEMA = """
ALTER TABLE chats DROP CONSTRAINT chats_status_known, DROP CONSTRAINT chats_lease_columns;
ALTER TABLE chats ADD COLUMN paused_until timestamptz;
ALTER TABLE chats ADD CONSTRAINT chats_paused CHECK ((status = 'paused') = (paused_until IS NOT NULL));
"""
REFUSALS: Mapping[Transition, type[Exception]] = {
    **dict.fromkeys(
        (Transition.INTERRUPT, Transition.EDIT, Transition.REGENERATE, Transition.PROMOTE),
        StatusUnknown,
    ),
    **dict.fromkeys((Transition.ARCHIVE, Transition.UNARCHIVE), ChatTreeBusy),
    **dict.fromkeys((*WORKER_TRANSITIONS, Transition.REAP_INTERRUPT), LeaseLost),
    **dict.fromkeys(
        (
            Transition.CLAIM,
            Transition.REAP,
            Transition.EXPIRE_ACTION,
            Transition.FAIL_UNSERVED,
            Transition.WAKE,
        ),
        NoChatFound,
    ),
    Transition.ANSWER_ACTION: ToolCallUnknown,
    Transition.SUBMIT_TOOL_RESULTS: NoActionRequired,
    Transition.RETRY: NothingToRetry,
    Transition.APPEND: ChatBusy,
    Transition.CLEAR: ChatBusy,
}
LEFT_IN_ITS_STATUS = {
    Transition.SEND,
    Transition.SET_TITLE,
    Transition.REQUEST_COMPACTION,
    Transition.DESCRIBE,
    Transition.REMOVE_QUEUED,
}
LEASED = {
    "worker_id": "00000000-0000-4000-8000-000000000001",
    "epoch": 1,
    "started_at": "now",
    "heartbeat_at": "now",
}


async def paused_chat(database: Database, **columns: object) -> Chat:
    async with database.dedicated_connection() as connection:
        await connection.execute(NEWER_SCHEMA)
    return await chat_with_status(
        database, Status.read("paused"), queued=2, paused_until="now", **columns
    )


def test_each_transition_has_a_case() -> None:
    assert set(REFUSALS) | LEFT_IN_ITS_STATUS | NEW_CHAT == set(Transition)


@pytest.mark.parametrize("leased", [False, True], ids=["idle", "leased"])
async def test_chat_in_an_unknown_status_keeps_it(
    database: Database, subtests: pytest.Subtests, leased: bool
) -> None:
    chat = await paused_chat(database, **(LEASED if leased else {}))
    for transition, busy in TABLE:
        with subtests.test(transition=transition.value, busy=busy):
            await check(database, transition, busy, chat)


async def check(
    database: Database, transition: Transition, busy: BusyBehavior | None, chat: Chat
) -> None:
    if transition in NEW_CHAT:
        return
    before = await stored_rows(database, chat)
    refusal = ChatBusy if busy is BusyBehavior.REJECT else REFUSALS.get(transition)
    if refusal is None:
        result = await make_transition(database, transition, busy, chat)
        assert (result.chat.status, result.chat.status.is_known) == ("paused", False)
        return
    with pytest.raises(refusal):
        await make_transition(database, transition, busy, chat)
    assert await stored_rows(database, chat) == before


async def test_message_that_only_a_newer_version_shows_is_hidden(database: Database) -> None:
    """A new visibility may mean that nobody is to see the message."""
    chat = await paused_chat(database)
    async with database.dedicated_connection() as connection:
        await connection.execute(
            "ALTER TABLE chat_messages DROP CONSTRAINT chat_messages_visibility_check;"
            "ALTER TABLE chat_messages DROP CONSTRAINT chat_messages_role_check;"
            "INSERT INTO chat_messages (chat_id, id, version, role, content, visibility)"
            f" VALUES ('{chat.id}', chat_message_id(1, 8), 1, 'critic', '[]', 'nobody'),"
            f" ('{chat.id}', chat_message_id(1, 9), 1, 'critic', '[]', 'both')"
        )
    reads = ChatReader(database)
    assert (await reads.chat(chat.id, owner_id=OWNER)).status == "paused"
    messages = (await reads.messages_after(chat.id, 0, limit=10)).items
    assert [(message.role, message.role.is_known) for message in messages] == [
        ("user", True),
        ("critic", False),
    ]
