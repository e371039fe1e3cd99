"""Random workload: callers, workers and reapers that make transitions of a few chats concurrently."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from uuid import UUID

from chatd.domain.agents import Wait
from chatd.domain.chat import BusyBehavior, Chat
from chatd.domain.errors import LeaseLost, Refused
from chatd.domain.files import new_file
from chatd.domain.message import NewMessage, Role
from chatd.domain.tool_call import CallState, NewToolCall
from chatd.store.chats import Chats
from chatd.store.children import Children
from chatd.store.commands import (
    CommitStep,
    Fail,
    FinishInterrupt,
    FinishTurn,
    Park,
    RecordRetry,
    Release,
    RequireAction,
)
from chatd.store.compact import Compact
from chatd.store.database import Database
from chatd.store.idempotency import IdempotencyKey
from chatd.store.limits import ChatLimits
from chatd.store.messages import Messages
from chatd.store.queue import Queue
from chatd.store.records import TransitionResult
from chatd.store.stream_reads import PartBatch, StreamStore
from chatd.store.sweeps import PARTS
from chatd.store.tool_calls import ToolCalls, ToolResult
from chatd.store.turns import FencingToken, Turns
from support.claims import claim_chats
from support.concurrency import fencing_token
from support.factories import MODEL, OWNER, text_content, tool_call_content
from support.leases import orphaned_interrupts, reap
from support.sweeps import delete_expired
from support.transitions import asked_calls

Request = Callable[..., Awaitable[object]]

FILES = [new_file(bytes([n]) * 200_000, media_type="image/png") for n in range(3)]
"""Files that are large beside all the messages of a chat, so that one that counts twice is seen."""
TOOLS = [{"name": "sky", "description": "", "parameters": {"type": "object"}}]
ANSWER = NewMessage(role=Role.ASSISTANT, content=text_content("an answer"))


def identity(result: TransitionResult) -> tuple[object, ...]:
    """Return what a repeated request gets as the first one did. The rows themselves may change between."""
    entry, queued = result.entry, result.queued_message
    return (
        result.chat.id,
        entry and (entry.version, entry.created_at, entry.status, entry.epoch, entry.data),
        [message.id for message in result.messages],
        queued and queued.id,
    )


class RandomWorkload:
    """Random transitions of a few chats, with what the callers sent."""

    def __init__(self, database: Database, seed: int) -> None:
        self.random = random.Random(seed)
        self.database = database
        self.chats = Chats(database, limits=lambda: ChatLimits(max_queued_messages=4))
        self.turns = Turns(database)
        self.tool_calls = ToolCalls(database)
        self.children = Children(database)
        self.streams = StreamStore(database)
        self.chat_ids: list[UUID] = []
        self.sent_texts: list[str] = []
        self.transition_count = 0

    async def start(self, count: int) -> None:
        """Create the chats."""
        for _ in range(count):
            created = await self.chats.create(owner_id=OWNER, model_config_id=MODEL)
            self.chat_ids.append(created.chat.id)

    async def caller(self, caller_number: int) -> None:
        """Make 90 random requests. Those with a key are made twice, concurrently."""
        for n in range(90):
            chat_id = self.random.choice(self.chat_ids)
            label = f"{caller_number}-{n}"
            request, sends_text = await self.random_tool_results(), False
            if request is None:
                request, sends_text = await self.random_request(chat_id, label)
            if request is None:
                continue
            key = self.random.choice([None, IdempotencyKey(OWNER, label, b"the same")])
            repeats = 2 if key else 1
            results = await asyncio.gather(*(self.attempt(request, key) for _ in range(repeats)))
            accepted = [result for result in results if isinstance(result, TransitionResult)]
            if not accepted:
                continue
            assert identity(accepted[0]) == identity(accepted[-1]), "two responses to one request"
            self.transition_count += 1
            if sends_text:
                self.sent_texts.append(label)

    async def attempt(self, request: Request, key: IdempotencyKey | None) -> object:
        """Return the result. None: the request was refused."""
        try:
            return await request(owner_id=OWNER, key=key)
        except Refused:
            return None

    async def random_request(self, chat_id: UUID, label: str) -> tuple[Request | None, bool]:
        """Return a request that may be legal, if there is one, and whether it sends the text ``label``."""
        chats, messages, queue = self.chats, Messages(self.database), Queue(self.database)
        match self.random.randrange(17):
            case 0:
                return partial(chats.interrupt, chat_id), False
            case 1:
                return partial(chats.describe, chat_id, title=label), False
            case 2:
                return partial(chats.archive, chat_id), False
            case 3 | 4:
                return partial(chats.archive, chat_id, archived=False), False
            case 5 | 6:
                message_id = await self.random_message_id(chat_id)
                edits = self.random.randrange(2) == 0
                edit = partial(messages.edit, **self.random_content(label))
                return partial(edit if edits else messages.regenerate, chat_id, message_id), edits
            case 7 | 12:
                said = NewMessage(role=Role.ASSISTANT, content=text_content("said"))
                append = partial(messages.append, messages=[said])
                change = self.random.choice([messages.clear, messages.request_compaction, append])
                return partial(change, chat_id), False
            case 8:
                return partial(chats.retry, chat_id), False
            case 9 | 10:
                where, queued = await self.random_queued(chat_id)
                return partial(queue.promote, where, queued), False
            case 11:
                await self.delete_queued_message(queue, *await self.random_queued(chat_id))
                return None, False
            case _:
                busy = self.random.choice(list(BusyBehavior))
                content = self.random_content(label)
                earlier = [NewMessage(role=Role.SYSTEM, content=text_content("be brief"))]
                more = self.random.choice(({}, {}, {"earlier": earlier}, {"tools": TOOLS}))
                return partial(chats.send, chat_id, **content, **more, busy_behavior=busy), True

    def random_content(self, label: str) -> dict[str, Any]:
        """Return a message of the text ``label`` and perhaps one of a few files."""
        files = self.random.sample(FILES, self.random.choice((0, 0, 1, 2)))
        parts = [file.reference() for file in files]
        return {"content": (*text_content(label), *parts), "files": files}

    async def random_message_id(self, chat_id: UUID) -> int:
        """Return the id of a message, or 0, which is none's."""
        query = "SELECT id FROM chat_messages WHERE chat_id = $1"
        return await self.random_id(query, chat_id)

    async def random_id(self, query: str, chat_id: UUID) -> int:
        """Return a random id of the rows of a query. 0: there is no row."""
        found = await self.database.fetch(query, chat_id)
        return int(self.random.choice(found)["id"]) if found else 0

    async def random_queued(self, chat_id: UUID) -> tuple[UUID, int]:
        """Return a random queued message of any chat, or one that does not exist."""
        found = await self.database.fetch("SELECT chat_id, id FROM chat_queued_messages")
        row = self.random.choice(found) if found else {"chat_id": chat_id, "id": 0}
        return row["chat_id"], row["id"]

    async def delete_queued_message(self, queue: Queue, chat_id: UUID, queued: int) -> None:
        """Remove a queued message, if it still exists."""
        try:
            await queue.remove(chat_id, queued, owner_id=OWNER)
        except Refused:
            return
        self.transition_count += 1

    async def random_tool_results(self) -> Request | None:
        """Return, once in three calls, a request with the results that a chat waits for."""
        ledger = await self.database.fetch(
            "SELECT chat_id, tool_call_id FROM chat_tool_calls WHERE completed_at IS NULL"
        )
        if not ledger or self.random.randrange(3):
            return None
        chat_id = self.random.choice(ledger)["chat_id"]
        ids = [row["tool_call_id"] for row in ledger if row["chat_id"] == chat_id]
        self.random.shuffle(ids)
        results = [ToolResult(tool_call_id=call_id, result=1) for call_id in ids]
        return partial(self.tool_calls.submit, chat_id, results=results)

    async def worker(self, worker_id: UUID, draining: asyncio.Event) -> None:
        """Claim chats and make random transitions of them. Some leases are abandoned, as by a crash."""
        while True:
            is_draining = draining.is_set()
            claims = await claim_chats(self.database, 2, worker_id=worker_id)
            if not claims and is_draining:
                return
            for claim in claims:
                chat = claim.result.chat
                try:
                    while chat.worker_id == worker_id and chat.epoch == claim.result.chat.epoch:
                        chat = await self.random_step(
                            fencing_token(claim.result), chat, always_finish=is_draining
                        )
                except LeaseLost:
                    continue

    async def random_step(self, fence: FencingToken, chat: Chat, *, always_finish: bool) -> Chat:
        """Flush a part and make a random transition of a leased chat. Return the chat after it."""
        await self.streams.flush_parts(
            [PartBatch(chat.id, fence.epoch, chat.settled_part + 1, [{"index": 0, "type": "text"}])]
        )
        stored: dict[str, Any] = {
            "step": chat.committed_steps,
            "messages": [ANSWER][: self.random.randrange(2)],
            "settled_part": chat.settled_part + self.random.randrange(3),
        }
        match 9 if always_finish else self.random.randrange(20):
            case 0:
                transition = self.turns.apply(fence, Release(step=0, reason="test"))
            case 1 | 10 | 11:
                transition = self.turns.apply(
                    fence,
                    Fail(
                        step=chat.committed_steps,
                        last_error="no",
                        last_error_detail={},
                        settled_part=0,
                    ),
                )
            case 2:
                transition = self.turns.apply(
                    fence,
                    RecordRetry(
                        step=chat.committed_steps,
                        attempts=chat.attempts + 1,
                        delay_seconds=0.0,
                        settled_part=0,
                        failure={},
                    ),
                )
            case 3:
                raise LeaseLost  # as if the worker had died
            case 4 | 5:
                transition = self.turns.apply(fence, CommitStep(**stored))
            case 6:
                transition = self.turns.apply(fence, await self.random_compaction(chat))
            case n if n > 16:
                (call,) = tool_call_content("w")
                wait = Wait(
                    chat_ids=(chat.id,),
                    for_all=True,
                    seconds=self.random.choice([0.0, 0.1, 60.0]),
                )
                stored["messages"] = [NewMessage(role=Role.ASSISTANT, content=[call])]
                new = NewToolCall(part=call, message_id=None, state=CallState.PARKED, wait=wait)
                transition = self.turns.apply(fence, Park(calls=[new], **stored))
                stored["messages"] = [ANSWER]
            case n if n > 11:
                calls = tool_call_content(
                    *self.random.sample(["a", "b", "c"], self.random.randrange(1, 4))
                )
                stored["messages"] = [NewMessage(role=Role.ASSISTANT, content=calls)]
                transition = self.turns.apply(
                    fence,
                    RequireAction(
                        calls=asked_calls(calls),
                        timeouts={"result": self.random.choice([0.0, 0.1, 60.0])},
                        **stored,
                    ),
                )
                stored["messages"] = [ANSWER]  # for finish_interrupt, if an interrupt comes first
            case _:
                transition = self.turns.apply(fence, FinishTurn(**stored))
        try:
            return (await transition).chat
        except LeaseLost:
            return (await self.turns.apply(fence, FinishInterrupt(**stored))).chat

    async def random_compaction(self, chat: Chat) -> Compact:
        """Return a compaction up to a random message that is not compacted yet, if there is one."""
        message_id = await self.random_id(
            "SELECT id FROM chat_messages WHERE chat_id = $1 AND superseded_version IS NULL"
            " AND visibility = 'both' AND role <> 'system' AND id > ("
            "  SELECT COALESCE(max(covers_until), 0) FROM chat_summaries WHERE chat_id = $1)",
            chat.id,
        )
        of_step = {"step": chat.committed_steps, "settled_part": 0}
        if not message_id:
            return Compact(**of_step)
        summary = NewMessage(role=Role.USER, content=text_content("a summary"))
        return Compact(**of_step, summary=summary, covers_until=message_id)

    async def reaper(self, draining: asyncio.Event) -> None:
        """Reap, expire and prune until every chat is idle."""
        while not draining.is_set() or await self.database.fetch(
            "SELECT FROM chats WHERE worker_id IS NOT NULL"
            " OR status IN ('pending', 'requires_action', 'parked') LIMIT 1"
        ):
            if draining.is_set():  # no caller submits results any more
                await self.database.fetch(
                    "WITH asking AS (UPDATE chats SET action_deadline = clock_timestamp()"
                    "  WHERE status = 'requires_action' RETURNING id)"
                    " UPDATE chat_tool_calls t SET expires_at = NULL FROM asking"
                    " WHERE t.chat_id = asking.id"
                )
                await self.database.fetch(
                    "WITH parked AS (UPDATE chats SET action_deadline = clock_timestamp()"
                    "  WHERE status = 'parked' RETURNING id)"
                    " UPDATE chat_tool_calls t SET wake_at = clock_timestamp() FROM parked"
                    " WHERE t.chat_id = parked.id AND t.state = 'parked'"
                )
            await self.tool_calls.expire(limit=2)
            await self.children.wake(sweeps=True, limit=2)
            await reap(self.database, lease_seconds=0.0, max_recoveries=2)
            for orphan in await orphaned_interrupts(self.database, lease_seconds=0.0):
                try:
                    await self.turns.apply(orphan.fence, orphan.command)
                except LeaseLost:
                    continue
            await delete_expired(self.database, PARTS)
