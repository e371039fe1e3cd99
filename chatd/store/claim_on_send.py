"""Claim on send: a transition of a caller that starts a turn, and the claim of the chat, by one statement.

A process that has a free slot answers at once: without a hint, a claim, and mostly without a read. The
``Claimer`` says when it has one. A message for which this does not apply is sent by the ordinary statement.
Messages that come at the same time share a statement (``group_commit``). The other transitions have one
statement, whose parameters say whether it may claim. The benchmark ``turns`` watches it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar
from uuid import UUID

import asyncpg
from opentelemetry.trace import Span

from chatd.domain.chat import Chat
from chatd.domain.transitions import Transition
from chatd.store import sql
from chatd.store.claims import Claim, Claims
from chatd.store.codecs import encode_json
from chatd.store.database import Database
from chatd.store.database_errors import is_caused_by_data
from chatd.store.files import FILE_PARAMETERS
from chatd.store.group_commit import Entry, GroupCommit, array, is_too_large
from chatd.store.histories import ChatHistory, KnownHistories
from chatd.store.records import Row, TransitionResult
from chatd.store.slots import NO_SLOT, Reservation, Slot, SlotSource
from chatd.telemetry import tracing

T = TypeVar("T")

_Q = sql.load("claims")

NO_CLAIM: Final[Mapping[str, object]] = {
    "worker_id": None,
    "models": (),
    "advance": False,
    "claim_traceparent": None,
}
"""Parameters of a statement that may claim the chat, and is not to."""
Committed: TypeAlias = Callable[[Row], Awaitable[TransitionResult | None]]
"""Function that starts the turn of the chat that a row shows as claimed. None: it shows none."""
HistoryBefore: TypeAlias = Callable[[ChatHistory | None, Mapping[str, Any]], ChatHistory | None]
"""Function that returns a history without what a transition removes.

It is given the last known history, and the data of the transition's journal entry.
"""
_TURNS_UNDER_WAY: Final = 256
"""Turns of one owner that other statements may start at the same moment, on all replicas together.

A message goes alone if its owner is nearer than that to a limit. Then an exact count takes a lock.
"""
_COUNTED_LIMITS: Final = ("max_active_chats", "max_running_per_owner")


@dataclass(frozen=True, slots=True, eq=False)
class _Message:
    """A message, as one element of the arrays of ``send_and_claim``."""

    chat_id: UUID
    slot: Slot
    parameters: Mapping[str, Any]
    """Those of ``send``."""
    content: str
    claim_traceparent: str | None

    @property
    def goes_alone(self) -> bool:
        """True if it is too large for others, or its owner is always near a limit."""
        limits = self.parameters["limits"] or {}
        return is_too_large(self.content, self.parameters["file_ids"]) or any(
            name in limits and limits[name] <= _TURNS_UNDER_WAY for name in _COUNTED_LIMITS
        )


class ClaimOnSend:
    """Store for transitions of callers whose chat this process claims with the same statement.

    Once such a request has a slot, its caller's cancellation no longer stops it: it is executed, and its
    turn gets its task. If the response is lost, the heartbeat finds the chat (``ChatTaskPool.claiming``).
    """

    def __init__(
        self, database: Database, *, claims: Claims, slots: SlotSource, histories: KnownHistories
    ) -> None:
        self._database = database
        self._claims = claims
        self._slots = slots
        self._histories = histories
        self._messages = GroupCommit(database, self._send_all)

    async def send(
        self, chat_id: UUID, *, tools: Sequence[Mapping[str, Any]] | None, **parameters: object
    ) -> TransitionResult | None:
        """Send a message with these parameters, and start its turn. None: send it by ``send``.

        It is for ``tools`` that the chat has already, or None.
        """
        tools_version = None
        if tools is not None:
            tools_version = self._histories.tools_version(chat_id, tools)
            if tools_version is None:
                return None
        parameters["tools_version"] = tools_version
        content = encode_json(parameters["content"])
        reservation = self._reserve(chat_id)
        slot = reservation.slot
        if slot is None:
            return None
        with tracing.claim_span() as span:
            message = _Message(chat_id, slot, parameters, content, tracing.current_traceparent())
            sent = self._messages.add(message, alone=message.goes_alone)
            try:
                await sent.wait()
            except asyncio.CancelledError:
                # A task costs what two statements' rows do, so only this needs one.
                self._database.start_task(self._end_send(sent, reservation, span))
                raise
            return await self._end_send(sent, reservation, span)

    def keep_history(self, chat: Chat, history: ChatHistory) -> None:
        """Know the history of ``chat`` as it is now, for its next turn."""
        self._histories.keep(chat.id, chat.version, history, tools_version=chat.tools_version)

    async def execute(
        self,
        statement: Callable[[Mapping[str, object], Committed | None], Awaitable[TransitionResult]],
        transition: Transition,
        *,
        chat_id: UUID | None,
        history: HistoryBefore,
    ) -> TransitionResult:
        """Run a statement that makes a chat pending (None: a new one), and claims it if a slot is free.

        ``statement`` gets the parameters of the claim, and a function that it calls with what it committed.
        """

        async def execute_with(slot: Slot) -> TransitionResult:
            with tracing.claim_span() as span:

                async def committed(row: Row) -> TransitionResult | None:
                    if row["claim_created_at"] is None:
                        return None
                    tracing.end_claim(span, 1)
                    known = self._histories.take(row["id"], row["version"] - 2)
                    before = history(known, row["entry_data"])
                    return await self._start(slot, row, transition, before)

                claim = {
                    "worker_id": self._claims.worker_id,
                    "models": slot.models,
                    "advance": slot.advance,
                    "claim_traceparent": tracing.current_traceparent(),
                }
                return await statement(claim, committed)

        result = await self._with_slot(chat_id, execute_with)
        return await statement(NO_CLAIM, None) if result is None else result

    async def _with_slot(
        self, chat_id: UUID | None, work: Callable[[Slot], Coroutine[Any, Any, T]]
    ) -> T | None:
        """Return the result of ``work`` with a slot for this chat, even if the caller is cancelled.

        None: there is no slot.
        """
        reservation = self._reserve(chat_id)
        slot = reservation.slot
        if slot is None:
            return None

        async def work_with(slot: Slot) -> T:
            with reservation:
                return await work(slot)

        return await self._database.run_to_end(work_with(slot))

    def _reserve(self, chat_id: UUID | None) -> Reservation:
        if chat_id is not None and self._claims.is_cut(chat_id):
            return NO_SLOT
        return self._slots.reserve(chat_id)

    async def _end_send(
        self, sent: Entry[_Message], reservation: Reservation, span: Span
    ) -> TransitionResult | None:
        """Start the turn of a message once its statement has ended."""
        with reservation:
            await sent.wait()
            row = await self._committed_row(sent)
            tracing.end_claim(span, 0 if row is None else 1)
            if row is None:
                return None
            message = sent.item
            before = self._histories.take(message.chat_id, row["version"] - 2)
            return await self._start(message.slot, row, Transition.SEND, before)

    async def _committed_row(self, sent: Entry[_Message]) -> asyncpg.Record | None:
        """Return the row of the statement. None: nothing was committed."""
        try:
            row = None if sent.goes_again else sent.row
            if sent.goes_again or (row is not None and row["goes_alone"]):
                row = await self._messages.run(sent.item, alone=True)
        except Exception as error:
            if is_caused_by_data(error):  # that only one of the two parts refuses, perhaps
                return None
            raise
        return row

    async def _send_all(self, messages: Sequence[_Message]) -> Sequence[asyncpg.Record]:
        def column(name: str) -> list[Any] | None:
            return array([message.parameters[name] for message in messages])

        last = messages[-1]
        return await self._database.fetch(
            _Q["send_and_claim"],
            chat_ids=[message.chat_id for message in messages],
            owner_ids=column("owner_id"),
            contents=[message.content for message in messages],
            first_words=column("first_words"),
            model_config_ids=column("model_config_id"),
            tools_versions=column("tools_version"),
            request_traceparents=column("request_traceparent"),
            claim_traceparents=array([message.claim_traceparent for message in messages]),
            actor_owner_ids=column("actor_owner_id"),
            actor_token_ids=column("actor_token_id"),
            idempotency_owners=column("idempotency_owner"),
            idempotency_keys=column("idempotency_key"),
            request_hashes=column("request_hash"),
            worker_id=self._claims.worker_id,
            models=last.slot.models,
            advance=any(message.slot.advance for message in messages),
            limits=last.parameters["limits"],
            turns_under_way=_TURNS_UNDER_WAY,
            **{name: last.parameters[name] for name in FILE_PARAMETERS},
        )

    async def _start(
        self, slot: Slot, row: Row, transition: Transition, before: ChatHistory | None
    ) -> TransitionResult:
        """Start the turn of a chat with this history before the transition. Return the latter's result."""

        def start(result: TransitionResult, claim: TransitionResult) -> None:
            messages, calls = result.model_messages, result.ledger or ()
            history = before and before.with_messages(messages).with_ledger(calls)
            slot.start(Claim(claim, None, 0.0, history))

        return await self._claims.committed_with_claim(row, transition, start)
