"""A message by each of its two ways into the store: with the claim of its chat, and without."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from chatd.domain.chat import Chat, Status
from chatd.domain.errors import ChatdError
from chatd.domain.journal import JournalEntry
from chatd.store.chats import Chats
from chatd.store.claim_on_send import ClaimOnSend
from chatd.store.claims import Claim, Claims
from chatd.store.commits import CommitListener
from chatd.store.database import Database
from chatd.store.histories import KnownHistories
from chatd.store.limits import ChatLimits
from chatd.store.slots import Slot, SlotSource
from support.claims import claim_chats
from support.factories import (
    MODEL,
    OTHER_MODEL,
    OWNER,
    WORKER,
    chat_with_status,
    insert_tool_calls,
    text_content,
)
from support.stored_tables import plainly, stored_tables


@dataclass(frozen=True, kw_only=True)
class Case:
    """A stored chat, a message to it, and whether the message may claim it."""

    name: str
    claims: bool
    status: Status = Status.WAITING
    queued: int = 0
    columns: Mapping[str, Any] = field(default_factory=dict)
    """Columns of the chat."""
    request: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the message."""
    limits: ChatLimits = field(default_factory=ChatLimits)
    running: int = 0
    """Other chats of the owner that run."""
    tool_calls: bool = False
    advance: bool = True
    models: tuple[UUID, ...] = (MODEL, OTHER_MODEL)
    creates: bool = False
    """The message is the first of a new chat."""


@dataclass
class Outcome:
    """What a message did: its result, what was published, and all that is stored."""

    result: Any
    published: list[Any]
    stored: Any
    replayed: Any = None
    claims: list[Claim] = field(default_factory=list)


class Way:
    """A store over an empty database, by which a message is sent."""

    def __init__(self, database: Database, case: Case) -> None:
        self.database, self.case = database, case
        self.entries: list[JournalEntry] = []
        self.claims: list[Claim] = []
        self.histories = KnownHistories(max_bytes=100_000)
        self.listener = CommitListener(on_commit=lambda entries, _: self.entries.extend(entries))

    def chats(self, *, claim_on_send: bool) -> Chats:
        slots = SlotSource()
        slots.reserve = self._reserve
        claims = Claims(self.database, worker_id=WORKER, listener=self.listener)
        return Chats(
            self.database,
            limits=lambda: self.case.limits,
            listener=self.listener,
            claim_on_send=ClaimOnSend(
                self.database, claims=claims, slots=slots, histories=self.histories
            )
            if claim_on_send
            else None,
        )

    @contextmanager
    def _reserve(self, _: UUID | None) -> Iterator[Slot | None]:
        yield Slot(models=self.case.models, advance=self.case.advance, start=self.claims.append)

    async def run(self, *, claim_on_send: bool) -> Outcome:
        """Make the chat of the case, unless it is a new one, and send the message."""
        chat = None if self.case.creates else await make_chat(self.database, self.case)
        message = self._message(self.chats(claim_on_send=claim_on_send), chat)
        try:
            result: Any = await message()
        except ChatdError as error:
            result = (type(error), str(error))
        if self.case.claims and not claim_on_send:
            self.claims += await claim_chats(
                self.database,
                10,
                models=self.case.models,
                advance=self.case.advance,
                listener=self.listener,
            )
        chat_id = chat.id if chat else getattr(result, "chat", None) and result.chat.id
        plain = plainly(chat_id)
        outcome = Outcome(
            plain(result),
            plain(self.entries),
            plain(await stored_tables(self.database)),
            claims=self.claims,
        )
        if "key" in self.case.request:
            outcome.replayed = plain(await message())
        return outcome

    def _message(self, chats: Chats, chat: Chat | None) -> Callable[[], Awaitable[Any]]:
        request = {"content": text_content("more"), "owner_id": OWNER, **self.case.request}
        if chat is not None:
            return lambda: chats.send(chat.id, **request)
        return lambda: chats.create(**{"model_config_id": MODEL, **request})


async def make_chat(database: Database, case: Case) -> Chat:
    chat = await chat_with_status(database, case.status, queued=case.queued, **case.columns)
    if case.tool_calls:
        await insert_tool_calls(database, chat.id, "a", "b")
    return chat
