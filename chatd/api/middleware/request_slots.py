"""Middleware that works on a few requests of one owner at once, so that others have their turn.

All requests of a process share an event loop and a pool of connections, and each takes them in order. An
owner with hundreds of requests under way would be before everybody else in both.
"""

from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatd.api.errors import problems
from chatd.api.errors.problems import HttpProblem
from chatd.api.scope import IDENTITY
from chatd.domain.errors import DatabaseUnavailable
from chatd.supervision.keyed_slots import KeyedSlots, SlotsTaken

WAIT_SECONDS: Final = 10.0
"""Time that a request waits for others of its owner, as long as a statement waits for a connection."""
_EVENT_STREAM: Final = b"text/event-stream"
_TOO_MANY: Final = HttpProblem(
    "too_many_requests", "Too many requests wait for each other (limits.max_requests)."
)


class RequestSlotsMiddleware:
    """Middleware that has requests of an owner wait for its others, or answers 429.

    A stream counts until its response begins. Requests without an identity are not counted. While the
    database is unavailable the answer is 503: the others wait for the database, and the owner is not to
    send less.
    """

    def __init__(
        self, app: ASGIApp, *, slots: KeyedSlots, database_reachable: Callable[[], bool]
    ) -> None:
        self._app = app
        self._slots = slots
        self._database_reachable = database_reachable

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        identity = scope.get(IDENTITY)
        if identity is None:
            await self._app(scope, receive, send)
            return
        try:
            slot = await self._slots.take(identity.owner_id)
        except SlotsTaken:
            refusal = _TOO_MANY if self._database_reachable() else DatabaseUnavailable()
            await problems.to_response(refusal)(scope, receive, send)
            return

        async def send_and_release(message: Message) -> None:
            if message["type"] == "http.response.start" and _is_stream(message):
                slot.release()
            await send(message)

        try:
            await self._app(scope, receive, send_and_release)
        finally:
            slot.release()


def _is_stream(message: Message) -> bool:
    return any(
        name == b"content-type" and value.startswith(_EVENT_STREAM)
        for name, value in message.get("headers", ())
    )
