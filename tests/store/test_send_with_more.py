"""A message that is sent with earlier ones, or with other tools."""

from typing import Any

import pytest
from support.claim_on_send import Case, Way
from support.claims import claim_chats
from support.factories import (
    OWNER,
    WORKER,
    chat_with_status,
    stored_rows,
    text_content,
)
from support.stored_messages import visible_texts
from support.transitions import FIRST_MESSAGE_ID

from chatd.domain.chat import BusyBehavior, Chat, Status
from chatd.domain.errors import ChatBusy, ChatFull
from chatd.domain.message import NewMessage, Role
from chatd.store.chats import Chats
from chatd.store.commands import FinishTurn
from chatd.store.database import Database
from chatd.store.limits import ChatLimits
from chatd.store.messages import Messages
from chatd.store.records import TransitionResult
from chatd.store.turns import FencingToken, Turns

RULES = NewMessage(role=Role.SYSTEM, content=text_content("be brief"))
SAID = NewMessage(role=Role.ASSISTANT, content=text_content("It is blue."))
OTHER_TOOLS = [{"name": "sky", "description": "", "parameters": {"type": "object"}}]


async def send(database: Database, chat: Chat, **more: Any) -> TransitionResult:
    return await Chats(database).send(chat.id, owner_id=OWNER, content=text_content("why?"), **more)


async def tools_of(database: Database, chat: Chat) -> Any:
    return (await Turns(database).history(chat.id)).tools


@pytest.mark.parametrize("status", [Status.WAITING, Status.ERROR])
async def test_earlier_messages_stand_before_the_message(
    database: Database, status: Status
) -> None:
    chat = await chat_with_status(database, status)
    sent = await send(database, chat, earlier=[RULES, SAID])
    assert [each.role for each in sent.messages] == [Role.SYSTEM, Role.ASSISTANT, Role.USER]
    assert sent.chat.status is Status.PENDING
    assert await visible_texts(database, chat) == ["hello", "be brief", "It is blue.", "why?"]
    assert sent.entry is not None
    assert sent.entry.data["messages"] == [each.id for each in sent.messages]


@pytest.mark.parametrize("busy", BusyBehavior)
@pytest.mark.parametrize("status", [Status.PENDING, Status.RUNNING, Status.REQUIRES_ACTION])
async def test_several_messages_are_not_queued(
    database: Database, status: Status, busy: BusyBehavior
) -> None:
    """Only where an interrupt starts the next turn at once, they are stored: after what it closes."""
    chat = await chat_with_status(database, status)
    before = await stored_rows(database, chat)
    if busy is BusyBehavior.INTERRUPT and status is not Status.RUNNING:
        sent = await send(database, chat, earlier=[RULES], busy_behavior=busy)
        roles = [each.role for each in sent.messages]
        closed = [Role.TOOL] if status is Status.REQUIRES_ACTION else []
        assert roles == [*closed, Role.SYSTEM, Role.USER]
        return
    with pytest.raises(ChatBusy):
        await send(database, chat, earlier=[RULES], busy_behavior=busy)
    assert await stored_rows(database, chat) == before


async def test_several_messages_do_not_pass_by_a_queue(database: Database) -> None:
    chat = await chat_with_status(database, Status.ERROR, queued=1)
    with pytest.raises(ChatBusy):
        await send(database, chat, earlier=[RULES])


async def test_later_instructions_are_cleared_with_the_history(database: Database) -> None:
    """A subscriber drops all from the message on that the journal names, and so does the store."""
    chat = await chat_with_status(database, Status.WAITING)
    await send(database, chat, earlier=[RULES])
    await Chats(database).interrupt(chat.id, owner_id=OWNER)
    cleared = await Messages(database).clear(chat.id, owner_id=OWNER)
    assert await visible_texts(database, chat) == []
    assert cleared.entry is not None
    assert cleared.entry.data["reset_from"] == FIRST_MESSAGE_ID


async def test_tools_are_replaced_and_counted(database: Database) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    plain = await send(database, chat)
    size = plain.chat.stored_bytes - chat.stored_bytes
    assert plain.chat.tools_version is None
    replaced = await send(database, chat, tools=OTHER_TOOLS)
    assert replaced.chat.tools_version == replaced.chat.version
    assert await tools_of(database, chat) == OTHER_TOOLS
    same = await send(database, chat, tools=OTHER_TOOLS)
    assert same.chat.tools_version == replaced.chat.tools_version, "they are the same"
    assert same.chat.stored_bytes - replaced.chat.stored_bytes == size
    await send(database, chat)
    assert await tools_of(database, chat) == OTHER_TOOLS
    taken = await send(database, chat, tools=[])
    assert not await tools_of(database, chat)
    again = await send(database, chat, tools=[])
    assert again.chat.tools_version == taken.chat.tools_version
    assert again.chat.stored_bytes < replaced.chat.stored_bytes + 4 * size, "they are not counted"


async def test_tools_of_a_queued_message_are_taken_at_once(database: Database) -> None:
    """The worker sees at its next transition that it has others, by the version."""
    chat = await chat_with_status(database, Status.RUNNING)
    sent = await send(database, chat, tools=OTHER_TOOLS)
    assert sent.queued_message is not None
    assert sent.chat.tools_version == sent.chat.version
    assert await tools_of(database, chat) == OTHER_TOOLS


async def test_everything_that_is_sent_counts_as_stored(database: Database) -> None:
    chat = await chat_with_status(database, Status.WAITING)
    large = NewMessage(role=Role.USER, content=text_content("x" * 5_000_000))
    chats = Chats(database, limits=lambda: ChatLimits(max_chat_bytes=20_000))
    for more in ({"earlier": [large]}, {"tools": [{"name": "x" * 5_000_000}]}):
        with pytest.raises(ChatFull):
            await chats.send(chat.id, owner_id=OWNER, content=text_content("why?"), **more)


async def test_tools_that_the_chat_has_are_sent_with_its_claim(database: Database) -> None:
    """Unless another replica has replaced them since: the message that is sent last has its tools."""
    chat = await chat_with_status(database, Status.WAITING)
    way = Way(database, Case(name="tools", claims=True))
    chats, turns = way.chats(claim_on_send=True), Turns(database, histories=way.histories)
    turns.keep_history(chat, await turns.history(chat.id))

    async def ask(tools: Any) -> bool:
        """Send a message with these tools. Return whether its statement claimed the chat, too."""
        before = len(way.claims)
        await chats.send(chat.id, owner_id=OWNER, content=text_content("why?"), tools=tools)
        if is_claimed := len(way.claims) > before:
            claimed = way.claims[-1].result.chat
        else:
            (claim,) = await claim_chats(database, 1)
            claimed = claim.result.chat
        fence = FencingToken(chat.id, WORKER, claimed.epoch)
        done = await turns.apply(
            fence, FinishTurn(step=claimed.committed_steps, messages=[], settled_part=0)
        )
        turns.keep_history(done.chat, await turns.history(chat.id))
        return is_claimed

    assert await ask([]), "it has none"
    assert not await ask(OTHER_TOOLS)
    assert await ask(OTHER_TOOLS)
    other = [{**OTHER_TOOLS[0], "name": "sea"}]
    sent = await send(database, chat, tools=other)  # by another replica
    await Chats(database).interrupt(sent.chat.id, owner_id=OWNER)
    assert not await ask(OTHER_TOOLS), "they are known, and were replaced"
    assert await tools_of(database, chat) == OTHER_TOOLS
