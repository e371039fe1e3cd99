"""Slots by which a few requests of one owner are worked on at once, so that others have their turn.

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

from starlette.types import Message, Scope

from chatd.api.errors.problems import HttpProblem
from chatd.api.middleware.request_body import has_body
from chatd.api.scope import BODY_SIZE, IDENTITY
from chatd.domain.errors import DatabaseUnavailable, TooManySearches
from chatd.supervision.keyed_slots import KeyedSlots, Slot, SlotsTaken

WAIT_SECONDS: Final = 10.0
"""Time that a request waits for others of its owner, as long as a statement waits for a connection."""
SEARCH_WAIT_SECONDS: Final = 1.0
"""Time that a search waits for others of its owner."""
MAX_BODIES: Final = 8
"""Bodies of one owner that are read, or wait for others of the owner: 32 MB with the default limits."""
LARGE_BODY_BYTES: Final = 256 * 1024
"""Bytes from which a body takes the event loop for long."""
_SHARED_PART: Final = 4
"""Requests go through the event loop some ten times, and wait for those of other owners each time."""
_EVENT_STREAM: Final = b"text/event-stream"


class RequestSlots:
    """The slots of requests, of each kind and owner.

    Requests without an identity need none. While the database is unavailable a request that waited for
    too long gets 503 in place of 429: the others wait for the database, and the owner is not to send less.
    """

    def __init__(
        self,
        max_requests: Callable[[], int],
        max_searches: Callable[[], int],
        *,
        is_search: Callable[[Scope], bool],
        database_reachable: Callable[[], bool],
    ) -> None:
        self._is_search = is_search
        self._database_reachable = database_reachable
        self._bodies = KeyedSlots(
            lambda: max_requests() and max(max_requests(), MAX_BODIES), wait_seconds=WAIT_SECONDS
        )
        self._large_bodies = KeyedSlots(lambda: min(max_requests(), 1), wait_seconds=WAIT_SECONDS)
        self._searches = KeyedSlots(max_searches, wait_seconds=SEARCH_WAIT_SECONDS)
        self._requests = KeyedSlots(
            max_requests,
            shared_limit=lambda: _beside_others(max_requests()),
            wait_seconds=WAIT_SECONDS,
        )

    async def take_before_body(self, scope: Scope, taken: list[Slot]) -> None:
        """Wait for the slot in which a body is read, which its client sends no faster than it is read.

        Add what was taken to ``taken``. Raises ``HttpProblem`` (429) and ``DatabaseUnavailable``.
        """
        if has_body(scope):
            await self._take(self._bodies, scope, taken, _too_many_bodies)

    async def take_after_body(self, scope: Scope, taken: list[Slot]) -> None:
        """Wait for the slots in which a request is worked on. Raises as ``take_before_body`` does.

        A request that waits for those of its kind takes none of the others.
        """
        if scope.get(BODY_SIZE, 0) > LARGE_BODY_BYTES:
            await self._take(self._large_bodies, scope, taken, _too_many_large_bodies)
        if self._is_search(scope):
            await self._take(self._searches, scope, taken, _too_many_searches)
        await self._take(self._requests, scope, taken, _too_many_requests)

    async def _take(
        self,
        slots: KeyedSlots,
        scope: Scope,
        taken: list[Slot],
        refusal: Callable[[], HttpProblem],
    ) -> None:
        identity = scope.get(IDENTITY)
        if identity is None:
            return
        try:
            taken.append(await slots.take(identity.owner_id))
        except SlotsTaken:
            raise (refusal() if self._database_reachable() else DatabaseUnavailable()) from None


def is_stream(message: Message) -> bool:
    """Return whether this is the head of a stream, which counts as a request until then."""
    return any(
        name == b"content-type" and value.startswith(_EVENT_STREAM)
        for name, value in message["headers"]
    )


def _too_many_requests() -> HttpProblem:
    return HttpProblem(
        "too_many_requests", "Too many requests wait for each other (limits.max_requests)."
    )


def _too_many_bodies() -> HttpProblem:
    detail = (
        f"Too many bodies arrive at once: at most {MAX_BODIES}, or limits.max_requests if more."
    )
    return HttpProblem("too_many_requests", detail)


def _too_many_large_bodies() -> HttpProblem:
    detail = f"Bodies over {LARGE_BODY_BYTES // 1024} kB are worked on one at a time: send fewer at once."
    return HttpProblem("too_many_requests", detail)


def _too_many_searches() -> HttpProblem:
    return HttpProblem(TooManySearches.code, TooManySearches.description())


def _beside_others(max_requests: int) -> int:
    """Return the requests of one owner at once while other owners are active. 0: unlimited."""
    return max(max_requests // _SHARED_PART, min(max_requests, 1))
