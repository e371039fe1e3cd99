"""Durable writes of a leased chat: retried during an outage, and never applied twice."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio

from chatd.domain.chat import LEASED, Chat, Status
from chatd.domain.errors import DatabaseBusy, DatabaseUnavailable, FileNotFoundInChat, LeaseLost
from chatd.domain.files import FileSpan
from chatd.domain.hint import Hint, hash_owner
from chatd.fanout.change_bus import ChangeBus
from chatd.store.histories import ChatHistory
from chatd.store.turns import Turns
from chatd.store.worker_command import WorkerCommand
from chatd.telemetry import tracing
from chatd.worker.clock import boottime
from chatd.worker.lease import Lease
from chatd.worker.statement_backoff import statement_backoff

T = TypeVar("T")

_MAX_SLOW_ATTEMPTS = 3
"""Attempts of a statement that the server gives up. One that is always too slow would hold a slot."""


class Interrupted(Exception):
    """An interrupt was requested before this could be stored."""


class Writer:
    """The transitions of one leased chat.

    A statement whose response was lost may have been committed. So when no row matches the fencing token,
    the writer reads the chat: the transition may be applied already, an interrupt may have been
    requested, or another worker has the chat, which raises ``LeaseLost``. A statement that the server gives
    up again and again raises ``DatabaseBusy``.
    """

    def __init__(
        self,
        turns: Turns,
        change_bus: ChangeBus,
        lease: Lease,
        *,
        history: ChatHistory | None = None,
    ) -> None:
        self._turns = turns
        self._change_bus = change_bus
        self._lease = lease
        self._history = history
        self._elapsed_seconds = 0.0

    def take_elapsed(self) -> float:
        """Return the seconds that reading and storing took since the last call."""
        elapsed, self._elapsed_seconds = self._elapsed_seconds, 0.0
        return elapsed

    def ensure_running(self) -> None:
        """Raise ``Interrupted`` or ``LeaseLost`` unless the chat runs, as far as the last statement shows.

        The response of a transition may have been lost, and a stop requested before the chat was read.
        """
        chat = self._lease.chat
        if chat.status is Status.INTERRUPTING:
            raise Interrupted
        if chat.status is not Status.RUNNING:
            raise LeaseLost(chat_id=chat.id, epoch=chat.epoch)

    async def history(self) -> ChatHistory:
        """Return what the model is shown.

        It is read once, unless it is known from the last turn. While the lease lasts, only this writer adds
        to it: an edit fences the worker. So it grows by what each transition returns, and is read again
        only when such a response was lost, or a caller has replaced the tools.
        """
        if self._history is None:
            with tracing.store_span("history"):
                self._history = await self._retry_until_lease_expires(
                    lambda: self._turns.history(self._lease.chat.id)
                )
        return self._history

    def keep_history(self) -> None:
        """Have the store keep the history for the next turn, if the last one ended here and it is known."""
        chat = self._lease.chat
        if self._history is not None and chat.status not in LEASED:
            self._turns.keep_history(chat, self._history)

    async def read_files(self, spans: Sequence[FileSpan]) -> Sequence[bytes]:
        """Return bytes of the chat's files. Raise ``LeaseLost`` if the chat was deleted with them."""
        fence = self._lease.fence
        try:
            return await self._retry_until_lease_expires(
                lambda: self._turns.read_files(fence.chat_id, spans)
            )
        except FileNotFoundInChat:
            if await self._turns.current(fence.chat_id) is None:
                raise LeaseLost(chat_id=fence.chat_id, epoch=fence.epoch) from None
            raise

    async def apply(self, command: WorkerCommand) -> None:
        """Make a transition, and update the chat of the lease. Raise ``Interrupted`` or ``LeaseLost``."""
        self._lease.transition_in_flight = True
        history, self._history = self._history, None
        try:
            with tracing.store_span(command.transition):
                result = await self._retry_until_lease_expires(
                    lambda: self._turns.apply(self._lease.fence, command)
                )
        except LeaseLost:
            self._lease.chat = chat = await self._reconcile(command)
            self._change_bus.receive(
                Hint(chat.id, chat.version, chat.status, hash_owner(chat.owner_id))
            )
        else:
            if result.chat.tools_version != self._lease.chat.tools_version:
                history = None
            self._lease.chat = result.chat
            if history is not None:
                history = history.with_messages(result.model_messages)
                calls = () if command.closes_all_calls else result.ledger
                self._history = history if calls is None else history.with_ledger(calls)
        finally:
            self._lease.transition_in_flight = False

    async def _reconcile(self, command: WorkerCommand) -> Chat:
        """Return the chat that did not match the fencing token, if ``command`` was applied to it."""
        chat = await self._retry_until_lease_expires(
            lambda: self._turns.current(self._lease.chat.id)
        )
        fence = self._lease.fence
        if chat is None or chat.epoch != fence.epoch:
            raise LeaseLost(chat_id=fence.chat_id, epoch=fence.epoch)
        if command.is_applied(chat):
            return chat
        if chat.status is Status.INTERRUPTING and chat.worker_id == fence.worker_id:
            self._lease.chat = chat
            raise Interrupted
        raise LeaseLost(chat_id=fence.chat_id, epoch=fence.epoch)

    async def _retry_until_lease_expires(self, statement: Callable[[], Awaitable[T]]) -> T:
        backoff, started_at, slow_attempts = None, boottime(), 0
        try:
            while True:
                try:
                    return await statement()
                except DatabaseUnavailable as error:
                    slow_attempts += isinstance(error, DatabaseBusy)
                    if slow_attempts == _MAX_SLOW_ATTEMPTS:
                        raise
                    backoff = backoff or statement_backoff()
                    await anyio.sleep(backoff.next_delay())
                    self._lease.ensure_valid()
        finally:
            self._elapsed_seconds += boottime() - started_at
