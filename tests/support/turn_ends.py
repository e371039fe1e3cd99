"""Random ends of turns of several chats, made at the same time or one by one."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from chatd.domain.chat import Chat, Status, Usage
from chatd.domain.files import new_file
from chatd.domain.message import NewMessage, Role
from chatd.store.commands import FinishTurn
from chatd.store.database import Database
from chatd.store.turns import FencingToken
from support.batches import OWNERS
from support.factories import MODEL, WORKER, chat_with_status, insert_chat, text_content

MOST = 2**63 - 1
FILE = new_file(b"bytes", media_type="text/plain", name="a.txt")
KINDS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "counters": {"recoveries": 2, "attempts": 1, "settled_part": 99, "version": 30},
    "used": {"input_tokens": 100, "stored_bytes": 1000},
    "no message": {},
    "two messages": {},
    "file": {},
    "queue": {},
    "another step": {"committed_steps": 1},
    "another epoch": {"epoch": 2},
    "locked": {},
    "poisoned": {"input_tokens": MOST},
}
"""Kinds of chats, and columns of theirs."""
OFTEN = (8, 2, 2, 1, 2, 1, 1, 1, 1, 1, 1)


@dataclass(frozen=True)
class TurnEnd:
    """The end of the turn of a chat of one of the ``KINDS``."""

    number: int
    kind: str
    owner_id: str
    usage: Usage = field(compare=False)

    @property
    def chat_id(self) -> UUID:
        return UUID(int=self.number)

    @property
    def fence(self) -> FencingToken:
        return FencingToken(self.chat_id, WORKER, 1)

    @property
    def is_common(self) -> bool:
        """True if it ends by the statement for several turns."""
        others = ("queue", "another step", "another epoch", "locked", "poisoned", "file")
        return self.kind not in others

    @property
    def command(self) -> FinishTurn:
        answer = NewMessage(
            role=Role.ASSISTANT,
            content=text_content("word " * self.number),
            model_config_id=MODEL,
            usage=self.usage,
            finish_reason="stop",
        )
        messages: Sequence[NewMessage] = [answer]
        if self.kind == "no message":
            messages = []
        elif self.kind == "two messages":
            messages = [NewMessage(role=Role.TOOL, content=text_content("a\x00")), answer]
        elif self.kind == "file":
            content = (FILE.reference(),)
            messages = [NewMessage(role=Role.ASSISTANT, content=content, files=(FILE,))]
        return FinishTurn(step=0, messages=messages, settled_part=self.number)


def random_ends(seed: int, *, without: Sequence[str] = ()) -> list[TurnEnd]:
    """Return ends in the order in which they are made."""
    chance = random.Random(seed)
    often = [0 if kind in without else n for kind, n in zip(KINDS, OFTEN, strict=True)]
    ends = [
        TurnEnd(
            number,
            chance.choices(list(KINDS), often)[0],
            chance.choice(OWNERS),
            Usage(*(chance.randint(1, 9) for _ in range(5))),
        )
        for number in range(1, chance.randint(6, 20))
    ]
    chance.shuffle(ends)
    return ends


async def make_running_chats(database: Database, ends: Sequence[TurnEnd]) -> dict[UUID, Chat]:
    """Insert the chats whose turns end, and some that are held, two of each owner."""
    for number, owner_id in enumerate(OWNERS * 2):
        held = UUID(int=1000 + number)
        await insert_chat(
            database,
            id=held,
            root_chat_id=held,
            status="pending",
            pending_since="now",
            held=True,
            round=number,
            owner_id=owner_id,
        )
    made: dict[UUID, Chat] = {}
    for end in ends:
        identity = {"id": end.chat_id, "root_chat_id": end.chat_id, "owner_id": end.owner_id}
        queued = 2 if end.kind == "queue" else 0
        made[end.chat_id] = await chat_with_status(
            database, Status.RUNNING, queued=queued, **identity, **KINDS[end.kind]
        )
        await database.fetch(
            "INSERT INTO chat_parts (chat_id, epoch, first_part, last_part, parts)"
            " VALUES ($1, 1, 1, 1, '[{}]')",
            end.chat_id,
        )
    return made
