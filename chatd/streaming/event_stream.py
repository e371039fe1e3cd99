"""The lifecycle of a stream: its first events, its waits, and the reasons for its end.

A wait costs a future, and an idle stream one timer. The benchmarks ``parts`` and ``memory`` watch it.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final, Protocol, Self

from chatd.domain.outcomes import StreamEndReason
from chatd.domain.stream_events import StreamEvent, StreamEventType
from chatd.store.database_errors import is_caused_by_data
from chatd.streaming.idle_timer import IdleTimer

RESET: Final = StreamEvent(
    StreamEventType.RESET,
    {"reason": "this cursor cannot be resumed; what follows is a snapshot"},
)


class Subscriber(Protocol):
    """A subscription to a chat or to a list of chats."""

    overflowed: bool
    """True when the subscription was closed because too much was pending for it."""
    unreadable: bool
    """True when the subscription was closed because this process cannot read what it is of."""

    @property
    def deleted(self) -> bool:
        """True if the chat was deleted."""

    @property
    def closed(self) -> bool:
        """True if nothing more will be delivered."""

    def wake(self) -> None:
        """Have ``wait`` return."""

    async def wait(self) -> None:
        """Return when there may be something new, or the subscription was closed."""

    def disconnect(self) -> None:
        """Close the subscription."""


class EventStream(ABC):
    """The events for one subscriber, as no protocol in particular.

    A protocol spells the batches of ``events`` and, once they are over, the ``end_reason``. A stream is
    closed by the code that made it, or by ``with``.
    """

    __slots__ = ("_ended_with", "_first_events", "_subscriber")

    def __init__(self, subscription: Subscriber) -> None:
        self._subscriber = subscription
        self._first_events: Sequence[StreamEvent] = ()
        self._ended_with: StreamEndReason | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Cancel the subscription. The stream delivers nothing any more."""

    def end(self, reason: StreamEndReason) -> None:
        """End the stream from outside: its client disconnected, or may not follow it any more."""
        if self._ended_with is None:
            self._ended_with = reason
        self._subscriber.disconnect()

    @property
    def end_reason(self) -> StreamEndReason:
        """The reason why the stream ended. Meaningful once ``events`` is over."""
        if self._ended_with is not None:
            return self._ended_with
        if self._subscriber.deleted:
            return StreamEndReason.CHAT_DELETED
        if self._subscriber.unreadable:
            return StreamEndReason.UNREADABLE
        if self._subscriber.overflowed:
            return StreamEndReason.SLOW_CONSUMER
        return StreamEndReason.DRAINING if self._is_draining() else StreamEndReason.ABORTED

    @property
    def final_event(self) -> StreamEvent | None:
        """The event that tells the subscriber why the stream ended, if there is one."""
        if self.end_reason is StreamEndReason.DRAINING:
            return StreamEvent(StreamEventType.DRAINING, {})
        return None

    async def events(self, *, idle_seconds: float) -> AsyncGenerator[Sequence[StreamEvent], None]:
        """Yield batches of events until the stream ends.

        A batch is empty when nothing was sent for ``idle_seconds``. Data that cannot be read end the
        stream. Its subscriber resumes, and gets a problem then unless that was a passing state.
        """
        try:
            async with aclosing(self._backlog()) as backlog:
                async for events in backlog:
                    if events:
                        yield events
            with IdleTimer(self._subscriber.wake, seconds=idle_seconds) as idle:
                while not self._subscriber.closed:
                    events = self._pull()
                    draining = self._is_draining()
                    if events or idle.is_due:
                        yield events or ()
                        idle.restart()
                    if draining:
                        return
                    if not events:
                        await self._subscriber.wait()
        except Exception as error:
            if not is_caused_by_data(error):
                raise
            self.end(StreamEndReason.UNREADABLE)

    @property
    def first_events(self) -> Sequence[StreamEvent]:
        """The events that opening the stream read. Empty once they were sent."""
        return self._first_events

    def _take_first_events(self) -> Sequence[StreamEvent]:
        """Return what opening the stream read, once: an idle stream does not hold its snapshot."""
        first_events, self._first_events = self._first_events, ()
        return first_events

    @abstractmethod
    def _is_draining(self) -> bool:
        """Return whether the process ends its streams."""

    @abstractmethod
    def _backlog(self) -> AsyncGenerator[Sequence[StreamEvent], None]:
        """Yield what the subscriber is sent before anything live."""

    @abstractmethod
    def _pull(self) -> Sequence[StreamEvent]:
        """Return everything that is new, in order."""
