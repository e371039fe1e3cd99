"""One request with its response, for as long as it takes to answer it.

The body of a stream is sent by ``pipeline`` after everything here was let go: a stream takes hours, and
would keep all of it in memory, two thirds of what an idle stream takes. The benchmarks ``memory`` and
``parts`` watch it.
"""

import asyncio
from time import perf_counter
from typing import Final, Protocol, cast

from opentelemetry.trace import Span
from starlette.types import Scope, Send

from chatd.supervision.keyed_slots import Slot

_USED_BY_SERVER: Final = frozenset({"type", "asgi", "http_version", "method"})
"""Keys of a scope that the server reads while a response is sent."""


class StreamResponse(Protocol):
    """A response whose head was sent."""

    async def send_body(self, send: Send) -> None:
        """Send the body, and close the response."""

    def close(self) -> None:
        """Close the response without sending its body."""


class Exchange:
    """A request under way: what its response still needs, and what is let go when it begins or ends."""

    __slots__ = ("has_begun", "is_complete", "slots", "span", "started_at", "stream", "task")

    def __init__(self, span: Span) -> None:
        self.started_at = perf_counter()
        self.span = span
        self.slots: list[Slot] = []
        """Slots of its owner that the request has, until its response ends, or begins if it is a stream."""
        self.task = cast("asyncio.Task[None]", asyncio.current_task())
        """The task of the request, which the server made for it."""
        self.has_begun = False
        self.is_complete = False
        self.stream: StreamResponse | None = None
        """The response, if its body is to be sent once the request is forgotten."""

    @property
    def seconds(self) -> float:
        """The time since the request came."""
        return perf_counter() - self.started_at

    def release_slots(self) -> None:
        """Give the slots to the next requests that wait. A second call changes nothing."""
        while self.slots:
            self.slots.pop().release()


def forget_request(scope: Scope) -> None:
    """Drop everything of a request that its stream does not need."""
    scope["headers"].clear()  # the server holds the list as well
    kept = {key: scope[key] for key in _USED_BY_SERVER if key in scope}
    scope.clear()  # a dict of which items are deleted one by one stays as large
    scope.update(kept)
