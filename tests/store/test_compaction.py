"""Compaction in the store: a summary stands for what it covers, and no row of that is written."""

import random
from uuid import UUID

import pytest
from support.compacted_chat import PROMPT, SUMMARY_USAGE, CompactedChat
from support.factories import (
    OWNER,
    WORKER,
    chat_with_status,
    insert_models,
    stored_rows,
    text_content,
)
from support.invariants import check_all
from support.stored_messages import insert_message
from support.transitions import COMPACTION, FIRST_MESSAGE_ID, make_transition
from support.trials import trials

from chatd.domain.chat import Status
from chatd.domain.compaction import CompactionRequest
from chatd.domain.errors import ChatArchived, LeaseLost, NothingToCompact
from chatd.domain.transitions import Transition
from chatd.store.chats import Chats
from chatd.store.compact import Compact
from chatd.store.database import Database
from chatd.store.messages import Messages
from chatd.store.reads import ChatReader
from chatd.store.turns import FencingToken, Turns

TURNS = 5
NOTICE = {"type": "compaction", "before_tokens": 900, "after_tokens": 90}


async def test_summary_stands_for_what_it_covers(database: Database) -> None:
    chat = await CompactedChat.create(database)
    first = await chat.turn("one")
    second = await chat.turn("two")
    result = await chat.compact(chat.before(second), "a summary")
    assert await chat.history() == [PROMPT, "a summary", "two", "answer to two"] == chat.shown
    [summary] = [one for one in result.model_messages if one.covers_until is not None]
    assert summary.covers_until == chat.before(second)
    assert [message.content for message in result.messages] == [(NOTICE,)]
    assert result.messages[0].usage == SUMMARY_USAGE
    assert chat.chat.usage == SUMMARY_USAGE
    request = chat.chat.compaction_request
    assert request is None or request.is_done
    shown = (await ChatReader(database).messages_after(chat.id, 0, limit=100)).items
    texts = [one.content[0].get("text", one.content[0]["type"]) for one in shown]
    assert texts == [PROMPT, "one", "answer to one", "two", "answer to two", "compaction"]
    compacted = [one.id for one in shown if one.compacted]
    assert compacted[0] == first
    assert len(compacted) == 2
    assert await check_all(database) > 0


async def test_a_later_summary_stands_for_the_earlier_one(database: Database) -> None:
    """The earlier one is stored after messages that the later one does not cover."""
    chat = await CompactedChat.create(database)
    [_, second, third, fourth] = [await chat.turn(text) for text in ("a", "b", "c", "d")]
    await chat.compact(chat.before(second), "first summary")
    await chat.compact(chat.before(fourth), "second summary")
    assert await chat.history() == [PROMPT, "second summary", "d", "answer to d"] == chat.shown
    await chat.turn("e")
    assert await chat.history() == chat.shown
    pages = ChatReader(database)
    flags = {
        one.id: one.compacted for one in (await pages.messages_after(chat.id, 0, limit=9)).items
    }
    assert flags[third]
    assert not flags[fourth]
    before = (await pages.messages_before(chat.id, fourth + 1, limit=2)).items
    assert [one.compacted for one in before] == [True, False]


@pytest.mark.parametrize("way", ["edit", "regenerate"])
@pytest.mark.parametrize("seed", range(1, trials(2) + 1))
async def test_edit_at_every_position_of_a_twice_compacted_chat(
    database: Database, seed: int, way: str
) -> None:
    """Summaries that cover the message are gone, with nothing but what they covered in their place."""
    for position in range(TURNS):
        chosen = random.Random(seed)
        chat = await CompactedChat.create(database)
        turns = await compacted_twice(chat, chosen)
        assert await chat.history() == chat.shown
        before = max(chat.summaries)
        if way == "edit":
            result = await chat.edit(turns[position], "instead")
        else:
            result = await chat.regenerate(turns[position])
        assert await chat.history() == chat.shown
        assert (
            turns[position] not in chat.messages or chat.shown[-1] == chat.messages[turns[position]]
        )
        assert result.entry is not None
        until = max(chat.summaries, default=0)
        assert result.entry.data.get("compacted_until") == (None if until == before else until)
        await chat.answer("at last")
        await chat.compact(list(chat.messages)[-1], "a new summary")
        assert await chat.history() == [PROMPT, "a new summary"]
    assert await check_all(database) > 0


async def test_regenerate_shows_the_question_that_a_summary_ends_with(database: Database) -> None:
    chat = await CompactedChat.create(database)
    await chat.turn("one")
    last = await chat.turn("two")
    await chat.compact(last, "a summary")
    assert await chat.history() == [PROMPT, "a summary", "answer to two"] == chat.shown
    result = await chat.regenerate(last)
    assert await chat.history() == [PROMPT, "one", "answer to one", "two"] == chat.shown
    assert result.entry is not None
    assert result.entry.data["compacted_until"] == 0


async def compacted_twice(chat: CompactedChat, chosen: random.Random) -> list[int]:
    """Send messages and compact twice in between, each time up to an earlier message. Return their ids."""
    moments = sorted(chosen.sample(range(2, TURNS + 1), 2))
    covered, turns = 0, []
    for number in range(TURNS):
        turns.append(await chat.turn(f"turn {number}"))
        if number + 1 in moments:
            ends = [one - 1 for one in turns if one - 1 > covered and one > turns[0]]
            covered = chosen.choice(ends[: None if number + 1 == moments[1] else 1])
            covered = max(one for one in chat.messages if one <= covered)
            await chat.compact(covered, f"summary after {number}")
    return turns


async def test_clear_removes_the_summary_too(database: Database) -> None:
    chat = await CompactedChat.create(database)
    last = await chat.turn("one")
    await chat.compact(last, "a summary")
    cleared = await Messages(database).clear(chat.id, owner_id=OWNER)
    assert await chat.history() == [PROMPT]
    assert cleared.entry is not None
    assert cleared.entry.data["compacted_until"] == 0
    assert await check_all(database) > 0


async def test_pruning_only_rises_until_an_edit_before_it(database: Database) -> None:
    await insert_models(database)
    chat = await chat_with_status(
        database, Status.RUNNING, compaction_request={"instructions": "keep the names"}
    )
    assert chat.compaction_request == CompactionRequest("keep the names")
    turns, fence = Turns(database), FencingToken(chat.id, WORKER, chat.epoch)
    for step, (asked, through) in enumerate(
        [(FIRST_MESSAGE_ID, FIRST_MESSAGE_ID), (5, FIRST_MESSAGE_ID)]
    ):
        pruned = await turns.apply(fence, Compact(step=step, pruned_through=asked, settled_part=0))
        assert pruned.chat.pruned_through == through
        assert pruned.messages == pruned.model_messages == ()
        assert pruned.chat.compaction_request == chat.compaction_request, "it is not done yet"
    nothing = await turns.apply(fence, Compact(step=2, settled_part=0))
    assert (nothing.chat.pruned_through, nothing.chat.compaction_request) == (
        FIRST_MESSAGE_ID,
        None,
    )
    later = await insert_message(database, chat, "user", "later")
    edit = Messages(database).edit
    kept = await edit(chat.id, later, owner_id=OWNER, content=text_content("instead"))
    assert kept.chat.pruned_through == FIRST_MESSAGE_ID
    forgotten = await edit(
        chat.id, FIRST_MESSAGE_ID, owner_id=OWNER, content=text_content("instead")
    )
    assert forgotten.chat.pruned_through is None


async def test_compaction_is_stored_once(database: Database) -> None:
    """A worker whose response was lost tries again, and finds it applied."""
    chat = await chat_with_status(database, Status.RUNNING)
    turns, fence = Turns(database), FencingToken(chat.id, WORKER, chat.epoch)
    command = Compact(**COMPACTION)
    first = await turns.apply(fence, command)
    before = await stored_rows(database, chat)
    with pytest.raises(LeaseLost):
        await turns.apply(fence, command)
    assert await stored_rows(database, chat) == before
    current = await turns.current(chat.id)
    assert current == first.chat
    assert command.is_applied(first.chat)
    assert not command.is_applied(chat)


@pytest.mark.parametrize("status", [Status.WAITING, Status.ERROR])
async def test_request_for_an_idle_chat_starts_a_turn(database: Database, status: Status) -> None:
    chat = await chat_with_status(database, status)
    chats = Chats(database)
    requested = await Messages(database).request_compaction(
        chat.id, owner_id=OWNER, instructions="names"
    )
    assert requested.chat.status is Status.PENDING
    idle_version = requested.chat.version if status is Status.WAITING else None
    assert requested.chat.compaction_request == CompactionRequest("names", idle_version)
    again = await Messages(database).request_compaction(chat.id, owner_id=OWNER)
    assert (again.chat.status, again.chat.compaction_request) == (
        Status.PENDING,
        CompactionRequest(idle_version=idle_version),
    )
    stopped = await chats.interrupt(chat.id, owner_id=OWNER)
    assert (stopped.chat.status, stopped.chat.compaction_request) == (Status.WAITING, None)


async def test_request_that_is_refused(database: Database) -> None:
    chat = await CompactedChat.create(database)
    chats = Chats(database)
    with pytest.raises(NothingToCompact):
        await Messages(database).request_compaction(chat.id, owner_id=OWNER)
    last = await chat.turn("one")
    await chat.compact(max(chat.messages), "a summary")
    assert last < max(chat.messages)
    before = await stored_rows(database, chat.chat)
    with pytest.raises(NothingToCompact):
        await Messages(database).request_compaction(chat.id, owner_id=OWNER)
    assert await stored_rows(database, chat.chat) == before
    await chats.archive(chat.id, owner_id=OWNER)
    with pytest.raises(ChatArchived):
        await Messages(database).request_compaction(chat.id, owner_id=OWNER)


@pytest.mark.parametrize("name", ["fail", "finish_interrupt"])
async def test_turn_that_ends_otherwise_forgets_the_request(database: Database, name: str) -> None:
    status = Status.RUNNING if name == "fail" else Status.INTERRUPTING
    chat = await chat_with_status(database, status)
    await Messages(database).request_compaction(chat.id, owner_id=OWNER)
    transition = Transition(name)
    result = await make_transition(database, transition, None, chat)
    assert result.chat.compaction_request is None


async def test_fork_shows_people_everything_and_the_model_the_summary(database: Database) -> None:
    chat = await CompactedChat.create(database)
    turns = [await chat.turn(text) for text in ("a", "b", "c")]
    then = chat.shown
    await chat.compact(chat.before(turns[1]), "a summary")
    await database.fetch("UPDATE chats SET pruned_through = $2 WHERE id = $1", chat.id, turns[1])
    await chat.turn("d")
    chats, turns_of = Chats(database), Turns(database)
    fork = (await chats.fork(chat.id, owner_id=OWNER)).chat
    assert await history_of(turns_of, fork.id) == chat.shown
    everything, copied = [
        [
            (one.role, one.content, one.compacted)
            for one in (await ChatReader(database).messages_after(id_, 0, limit=100)).items
        ]
        for id_ in (chat.id, fork.id)
    ]
    assert copied == everything
    pruned = (await ChatReader(database).messages_after(fork.id, 0, limit=4)).items[-1]
    assert (pruned.content, pruned.id) == (text_content("b"), fork.pruned_through)
    earlier = await chats.fork(chat.id, owner_id=OWNER, from_message_id=turns[2])
    assert await history_of(turns_of, earlier.chat.id) == then[:-1], "it was not compacted yet"
    before = await chats.fork(chat.id, owner_id=OWNER, from_message_id=turns[0])
    assert before.chat.pruned_through is None
    assert await check_all(database) > 0


async def history_of(turns: Turns, chat_id: UUID) -> list[str]:
    return [one.content[0]["text"] for one in (await turns.history(chat_id)).messages]
