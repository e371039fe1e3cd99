"""Callers, owners and reapers who make random moves on a few chats, all at once."""

import asyncio
import random
from typing import Any
from uuid import UUID, uuid4

from concurrency import hold_of
from factory import MODEL, OWNER, calls, text

from chatd.domain.chat import Busy, Chat
from chatd.domain.errors import ChatArchived, FamilyBusy, Lost, Refused
from chatd.domain.message import NewMessage, OpenCall, Role
from chatd.store.actions import Actions, ToolResult
from chatd.store.chats import Chats
from chatd.store.leases import Leases
from chatd.store.pool import Database
from chatd.store.streams import Batch, Streams
from chatd.store.turns import Hold, Turns

ANSWER = NewMessage(role=Role.ASSISTANT, content=text("an answer"))


class Mill:
    """Random moves on a few chats by everybody at once."""

    def __init__(self, database: Database, seed: int) -> None:
        self.dice = random.Random(seed)
        self.database = database
        self.chats = Chats(database, max_queued_messages=4)
        self.turns = Turns(database)
        self.actions = Actions(database)
        self.streams = Streams(database)
        self.ids: list[UUID] = []
        self.said: list[str] = []
        self.moves = 0
        self.submitted = 0

    async def start(self, count: int) -> None:
        for _ in range(count):
            created = await self.chats.create(owner_id=OWNER, model_config_id=MODEL)
            self.ids.append(created.chat.id)

    async def call(self, number: int) -> None:
        """A caller's day."""
        for n in range(60):
            chat_id = self.dice.choice(self.ids)
            words = f"{number}-{n}"
            match self.dice.randrange(12):
                case 0:
                    ask = self.chats.interrupt(chat_id, owner_id=OWNER)
                case 1:
                    ask = self.chats.describe(chat_id, owner_id=OWNER, title=words)
                case 2:
                    ask = self.chats.archive(chat_id, owner_id=OWNER)  # type: ignore[assignment]
                case 3 | 4:
                    ask = self.chats.archive(chat_id, owner_id=OWNER, archived=False)  # type: ignore[assignment]
                case 5 | 6:
                    await self.submit(chat_id)
                    continue
                case _:
                    await self.send(chat_id, words)
                    continue
            try:
                await ask
            except (FamilyBusy, ChatArchived):
                continue
            self.moves += 1

    async def send(self, chat_id: UUID, words: str) -> None:
        busy = self.dice.choice(list(Busy))
        try:
            await self.chats.send(chat_id, owner_id=OWNER, content=text(words), busy=busy)
        except Refused:
            return
        self.said.append(words)
        self.moves += 1

    async def submit(self, chat_id: UUID) -> None:
        """Answer what a chat waited for a moment ago, wherever that is, or nothing that it asked."""
        asked = await self.database.fetch(
            "SELECT chat_id, tool_call_id FROM chat_tool_calls WHERE completed_at IS NULL"
        )
        waiting = [row["chat_id"] for row in asked]
        chat_id = self.dice.choice(waiting) if waiting else chat_id
        ids = [row["tool_call_id"] for row in asked if row["chat_id"] == chat_id] or ["no such"]
        results = [
            ToolResult(tool_call_id=one, result=1) for one in self.dice.sample(ids, len(ids))
        ]
        try:
            await self.actions.submit(chat_id, owner_id=OWNER, results=results)
        except Refused:
            return
        self.moves += 1
        self.submitted += 1

    async def work(self, worker_id: UUID, calm: asyncio.Event) -> None:
        """An owner's day: claims, steps, retries, failures, ends, and now and then it just stops."""
        leases = Leases(self.database, worker_id=worker_id)
        while True:
            last = calm.is_set()
            claims = await leases.acquire(2)
            if not claims and last:
                return
            for claim in claims:
                chat = claim.moved.chat
                try:
                    while chat.worker_id == worker_id and chat.epoch == claim.moved.chat.epoch:
                        chat = await self.step(hold_of(claim.moved), chat, tame=last)
                except Lost:
                    continue

    async def step(self, hold: Hold, chat: Chat, *, tame: bool) -> Chat:
        await self.streams.flush_parts(
            [Batch(chat.id, hold.epoch, chat.parts_done + 1, [{"index": 0, "type": "text"}])]
        )
        stored: dict[str, Any] = {
            "step": chat.step,
            "messages": [ANSWER][: self.dice.randrange(2)],
            "parts_done": chat.parts_done + self.dice.randrange(3),
        }
        match 9 if tame else self.dice.randrange(18):
            case 0:
                ask = self.turns.release(hold, why="test")
            case 1:
                ask = self.turns.fail(
                    hold, step=chat.step, last_error="no", detail={}, parts_done=0
                )
            case 2:
                ask = self.turns.record_retry(
                    hold,
                    step=chat.step,
                    attempts=chat.attempts + 1,
                    delay_seconds=0.0,
                    parts_done=0,
                    failure={},
                )
            case 3:
                raise Lost  # it dies here, and others find out
            case 4 | 5:
                ask = self.turns.commit_step(hold, **stored)
            case n if n > 9:
                made = calls(*self.dice.sample(["a", "b", "c"], self.dice.randrange(1, 4)))
                stored["messages"] = [NewMessage(role=Role.ASSISTANT, content=made)]
                ask = self.turns.require_action(
                    hold,
                    calls=[OpenCall(part, None) for part in made],
                    action_seconds=self.dice.choice([0.0, 0.1, 60.0]),
                    **stored,
                )
                stored["messages"] = [ANSWER]  # if a stop comes first
            case _:
                ask = self.turns.finish_turn(hold, **stored)
        try:
            return (await ask).chat
        except Lost:
            return (await self.turns.finish_interrupt(hold, **stored)).chat

    async def reap(self, calm: asyncio.Event) -> None:
        leases = Leases(self.database, worker_id=uuid4())
        while not calm.is_set() or await self.database.fetch(
            "SELECT FROM chats WHERE worker_id IS NOT NULL"
            " OR status IN ('pending', 'requires_action') LIMIT 1"
        ):
            if calm.is_set():  # nobody comes any more to hand anything in
                await self.database.fetch(
                    "UPDATE chats SET action_deadline = clock_timestamp()"
                    " WHERE status = 'requires_action'"
                )
            await self.actions.expire(most=2)
            await leases.reap(stale_after_seconds=0.0, max_recoveries=2)
            for one in await leases.abandoned(stale_after_seconds=0.0):
                try:
                    await self.turns.reap_interrupt(
                        one.hold, step=one.step, messages=one.messages, parts_done=one.parts_done
                    )
                except Lost:
                    continue
            await self.streams.forget_parts(most=3)
