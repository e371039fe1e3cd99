"""Concurrent sends and ends of turns: no message is lost or doubled."""

import asyncio
from uuid import UUID

import pytest
from support.claims import claim_chats
from support.concurrency import fencing_token, gather_all
from support.factories import MODEL, OWNER, text_content
from support.invariants import check_all, has_no_duplicates, texts

from chatd.domain.chat import Status
from chatd.domain.errors import QueueFull
from chatd.domain.message import NewMessage, Role
from chatd.store.chats import Chats
from chatd.store.commands import FinishTurn
from chatd.store.database import Database
from chatd.store.limits import ChatLimits
from chatd.store.turns import Turns

ANSWER = NewMessage(role=Role.ASSISTANT, content=text_content("an answer"))


async def send_messages(
    chats: Chats, chat_id: UUID, name: str, count: int
) -> list[tuple[int, str]]:
    """Send ``count`` messages one after the other. Return each with the version that accepted it."""
    sent: list[tuple[int, str]] = []
    while len(sent) < count:
        text = f"{name}-{len(sent)}"
        try:
            result = await chats.send(chat_id, owner_id=OWNER, content=text_content(text))
        except QueueFull:
            await asyncio.sleep(0)
            continue
        sent.append((result.chat.version, text))
    return sent


async def finish_all_turns(database: Database, all_sent: asyncio.Event) -> int:
    """Claim the chat whenever it is pending, and finish turn after turn. Return the number of turns."""
    turns = Turns(database)
    finished = 0
    while True:
        no_more_sends = all_sent.is_set()
        claims = await claim_chats(database, 1)
        if not claims and no_more_sends:
            return finished
        for claim in claims:
            result = claim.result
            while result.chat.status is Status.RUNNING:
                result = await turns.apply(
                    fencing_token(claim.result),
                    FinishTurn(
                        step=result.chat.committed_steps,
                        messages=[ANSWER],
                        settled_part=result.chat.settled_part,
                    ),
                )
                finished += 1
                assert result.chat.queue_length == 0 or result.chat.status is Status.RUNNING


@pytest.mark.parametrize("speakers", [2, 8])
async def test_concurrent_sends_and_finishes_lose_no_message(wide: Database, speakers: int) -> None:
    chats = Chats(wide, limits=lambda: ChatLimits(max_queued_messages=5))
    created = await chats.create(owner_id=OWNER, model_config_id=MODEL)
    done = asyncio.Event()

    async def send_all() -> list[list[tuple[int, str]]]:
        each = 160 // speakers
        sent_by_speaker = await gather_all(
            *(send_messages(chats, created.chat.id, f"s{n}", each) for n in range(speakers))
        )
        done.set()
        return sent_by_speaker

    sent, finished = await gather_all(send_all(), finish_all_turns(wide, done))

    assert await check_all(wide) > 160
    history = await wide.fetch("SELECT * FROM chat_messages ORDER BY id")
    in_commit_order = [
        text for _, text in sorted(message for messages in sent for message in messages)
    ]
    assert texts(history) == in_commit_order
    assert len(texts(history)) == 160
    assert has_no_duplicates(texts(history))
    assert len(texts(history, "assistant")) == finished
    (chat,) = await wide.fetch("SELECT status, queue_length FROM chats")
    assert tuple(chat) == ("waiting", 0)
    outcomes = {  # both ways into history must have been taken
        outcome
        for row in await wide.fetch("SELECT data FROM chat_events WHERE transition = 'send'")
        for outcome in ("queued" if "queued" in row["data"] else "appended",)
    }
    assert outcomes == {"queued", "appended"}
