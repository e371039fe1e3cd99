"""Listener: receives the hints of other processes. Polls find what it misses."""

from collections.abc import Callable
from uuid import UUID

import anyio

from chatd.domain.chat import Status
from chatd.domain.errors import DatabaseUnavailable
from chatd.domain.hint import Hint
from chatd.store.connector import Connection
from chatd.store.database import Database
from chatd.store.database_errors import translate_errors
from chatd.supervision.child import ChildHandle
from chatd.supervision.outage import Outage
from chatd.telemetry.metrics import NotificationMetrics


class Listener:
    """Actor that listens on a dedicated connection, and reconnects when that is lost.

    ``on_hint`` is called for each hint of another process. ``on_reconnect`` is called after each connect,
    because hints may have been missed before. A statement every ``probe_seconds`` detects a connection that
    was cut without notice.
    """

    def __init__(
        self,
        database: Database,
        *,
        sender: str,
        on_hint: Callable[[Hint], None],
        on_reconnect: Callable[[], None],
        probe_seconds: float = 30.0,
        metrics: NotificationMetrics | None = None,
    ) -> None:
        self._metrics = metrics or NotificationMetrics()
        self._database = database
        self._sender = sender
        self._on_hint = on_hint
        self._on_reconnect = on_reconnect
        self._probe_seconds = probe_seconds

    async def run(self, child: ChildHandle) -> None:
        """Listen until the stop."""
        outage = Outage(child, expected=(DatabaseUnavailable,))
        while not child.stopping.is_set():
            async with (
                outage,
                self._database.dedicated_connection(stop=child.stopping) as connection,
            ):
                await self._listen(connection, child, outage)

    async def _listen(self, connection: Connection, child: ChildHandle, outage: Outage) -> None:
        closed = anyio.Event()
        connection.add_termination_listener(lambda _: closed.set())
        with translate_errors():
            await connection.add_listener("chatd", self._on_notification)
        outage.recovered()
        child.ready()
        self._on_reconnect()
        while not child.stopping.is_set() and not closed.is_set():
            await child.pause(self._probe_seconds, until=closed)
            if not child.stopping.is_set():
                with translate_errors():
                    await connection.execute("SELECT 1")

    def _on_notification(
        self, _connection: object, _pid: int, _channel: str, payload: object
    ) -> None:
        """Pass the hint on at once, because asyncpg gives no back-pressure here."""
        hint = decode_payload(str(payload), own_sender=self._sender)
        if hint is not None:
            self._metrics.received.add()
            self._on_hint(hint)


def decode_payload(payload: str, *, own_sender: str) -> Hint | None:
    """Return the hint in a payload. None: this process sent it, or another version of chatd."""
    try:
        sender, chat_id, version, status, owner = payload.split(" ")
        if sender == own_sender:
            return None
        return Hint(
            UUID(chat_id),
            int(version),
            None if status == "-" else Status.read(status),
            None if owner == "-" else int(owner, 16),
        )
    except ValueError:
        return None
