"""Middleware that works on a few requests of one owner at once, so that others have their turn.

All requests of a process share an event loop and a pool of connections, and each takes them in order. An
owner with hundreds of requests under way would be before everybody else in both. An owner who has the
process alone may use all of it.

Several kinds of slots stand behind each other, so that a request waits for those of its kind first and
keeps no others waiting meanwhile. Bodies that are being read bound memory: how long they take is up to the
client. Large bodies are worked on one at a time, because each takes the event loop for some milliseconds,
several times. Searches may read a whole list. The last kind bounds all requests.
"""

from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatd.api.errors import problems
from chatd.api.errors.problems import HttpProblem
from chatd.api.scope import BODY_SIZE, IDENTITY
from chatd.domain.errors import DatabaseUnavailable, TooManySearches
from chatd.supervision.keyed_slots import KeyedSlots, SlotsTaken

WAIT_SECONDS: Final = 10.0
"""Time that a request waits for others of its owner, as long as a statement waits for a connection."""
SEARCH_WAIT_SECONDS: Final = 1.0
"""Time that a search waits for others of its owner."""
MAX_BODIES: Final = 8
"""Bodies of one owner that are read, or wait for others of the owner: 32 MB with the default limits."""
_LARGE_BODY_BYTES: Final = 256 * 1024
_SHARED_PART: Final = 4
"""Requests go through the event loop some ten times, and wait for those of other owners each time."""
_EVENT_STREAM: Final = b"text/event-stream"
TOO_MANY_REQUESTS: Final = HttpProblem(
    "too_many_requests", "Too many requests wait for each other (limits.max_requests)."
)
TOO_MANY_SEARCHES: Final = HttpProblem(TooManySearches.code, TooManySearches.description())


def has_large_body(scope: Scope) -> bool:
    """Return whether a body has been read that takes the event loop for long."""
    size: int = scope.get(BODY_SIZE, 0)
    return size > _LARGE_BODY_BYTES


def beside_others(max_requests: int) -> int:
    """Return the requests of one owner at once while other owners are active. 0: unlimited."""
    return max(max_requests // _SHARED_PART, min(max_requests, 1))


class RequestSlotsMiddleware:
    """Middleware that has requests of an owner wait for its others, or answers with ``refusal``.

    A stream counts until its response begins. Requests without an identity are not counted, nor are those
    that are not ``counted``. While the database is unavailable the answer is 503: the others wait for the
    database, and the owner is not to send less.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        slots: KeyedSlots,
        counted: Callable[[Scope], bool],
        refusal: HttpProblem,
        database_reachable: Callable[[], bool],
    ) -> None:
        self._app = app
        self._slots = slots
        self._counted = counted
        self._refusal = refusal
        self._database_reachable = database_reachable

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        identity = scope.get(IDENTITY)
        if identity is None or not self._counted(scope):
            await self._app(scope, receive, send)
            return
        try:
            slot = await self._slots.take(identity.owner_id)
        except SlotsTaken:
            refusal = self._refusal if self._database_reachable() else DatabaseUnavailable()
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
