"""A transition of a caller by each of its two ways: with the claim of its chat, and without."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

from chatd.domain.chat import Chat, Status
from chatd.domain.errors import ChatdError
from chatd.domain.journal import JournalEntry
from chatd.domain.transitions import Transition
from chatd.store.chats import Chats
from chatd.store.claim_on_send import ClaimOnSend
from chatd.store.claims import Claim, Claims
from chatd.store.commits import CommitListener
from chatd.store.database import Database
from chatd.store.histories import KnownHistories
from chatd.store.limits import ChatLimits
from chatd.store.messages import Messages
from chatd.store.records import TransitionResult
from chatd.store.slots import Reservation, Slot, SlotSource
from chatd.store.tool_calls import ToolCalls, ToolResult
from support.claims import claim_chats
from support.factories import (
    MODEL,
    OTHER_MODEL,
    OWNER,
    PENDING_CALL_IDS,
    WORKER,
    chat_with_status,
    insert_tool_calls,
    text_content,
)
from support.stored_tables import plainly, stored_tables


@dataclass(frozen=True, kw_only=True)
class Case:
    """A stored chat, a transition of it, and whether that may claim it."""

    name: str
    claims: bool
    status: Status = Status.WAITING
    queued: int = 0
    columns: Mapping[str, Any] = field(default_factory=dict)
    """Columns of the chat."""
    request: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the transition."""
    limits: ChatLimits = field(default_factory=ChatLimits)
    running: int = 0
    """Other chats of the owner that run."""
    tool_calls: bool = False
    advance: bool = True
    models: tuple[UUID, ...] = (MODEL, OTHER_MODEL)
    transition: Transition = Transition.SEND


@dataclass
class Outcome:
    """What a transition did: its result, what was published, and all that is stored."""

    result: Any
    published: list[Any]
    stored: Any
    replayed: Any = None
    claims: list[Claim] = field(default_factory=list)


class Way:
    """Stores over an empty database, by which a transition is made."""

    def __init__(self, database: Database, case: Case) -> None:
        self.database, self.case = database, case
        self.entries: list[JournalEntry] = []
        self.claims: list[Claim] = []
        self.histories = KnownHistories(max_bytes=100_000)
        self.listener = CommitListener(on_commit=lambda entries, _: self.entries.extend(entries))

    def chats(self, *, claim_on_send: bool) -> Chats:
        return Chats(self.database, **self._arguments(claim_on_send=claim_on_send))

    def _arguments(self, *, claim_on_send: bool) -> dict[str, Any]:
        slots = SlotSource()
        slots.reserve = self._reserve
        claims = Claims(self.database, worker_id=WORKER, listener=self.listener)
        claiming = ClaimOnSend(self.database, claims=claims, slots=slots, histories=self.histories)
        return {
            "limits": lambda: self.case.limits,
            "listener": self.listener,
            "claim_on_send": claiming if claim_on_send else None,
        }

    def _reserve(self, _: UUID | None) -> Reservation:
        slot = Slot(models=self.case.models, advance=self.case.advance, start=self.claims.append)
        return Reservation(slot)

    async def run(self, *, claim_on_send: bool) -> Outcome:
        """Make the chat of the case, unless it is a new one, and the transition."""
        created = self.case.transition is Transition.CREATE
        chat = None if created else await make_chat(self.database, self.case)
        request = self.request(chat, claim_on_send=claim_on_send)
        try:
            result: Any = await request()
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
            outcome.replayed = plain(await request())
        return outcome

    def request(
        self, chat: Chat | None, *, claim_on_send: bool
    ) -> Callable[[], Awaitable[TransitionResult]]:
        """Return a function that makes the transition of the case."""
        arguments = self._arguments(claim_on_send=claim_on_send)
        chats, content = Chats(self.database, **arguments), {"content": text_content("more")}
        request = {"owner_id": OWNER, **self.case.request}
        if chat is None:
            return lambda: chats.create(**{"model_config_id": MODEL, **content, **request})
        match self.case.transition:
            case Transition.SEND:
                return lambda: chats.send(chat.id, **{**content, **request})
            case Transition.RETRY:
                return lambda: chats.retry(chat.id, **request)
            case Transition.EDIT:
                edit = partial(Messages(self.database, **arguments).edit, chat.id)
                return lambda: edit(**{"message_id": 1_000_001, **content, **request})
            case Transition.REGENERATE:
                regenerate = partial(Messages(self.database, **arguments).regenerate, chat.id)
                return lambda: regenerate(**{"message_id": 1_000_001, **request})
            case Transition.SUBMIT_TOOL_RESULTS:
                results = [ToolResult(tool_call_id=each, result=1) for each in PENDING_CALL_IDS]
                submit = partial(ToolCalls(self.database, **arguments).submit, chat.id)
                return lambda: submit(**{"results": results, **request})
            case other:
                raise AssertionError(other)


async def make_chat(database: Database, case: Case) -> Chat:
    chat = await chat_with_status(database, case.status, queued=case.queued, **case.columns)
    if case.tool_calls:
        await insert_tool_calls(database, chat.id, "a", "b")
    return chat
