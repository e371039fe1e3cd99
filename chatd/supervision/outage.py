"""Outage: waits out failures that are expected, such as an unavailable database."""

import random as _random
from collections.abc import Callable
from types import TracebackType

import anyio
import structlog

from chatd.supervision.backoff import Backoff
from chatd.supervision.child import ChildHandle
from chatd.supervision.child_run import describe_error, flatten_group

_log = structlog.get_logger()

MAX_RETRY_DELAY_SECONDS = 5.0
"""Longest delay between two tries, unless the caller sets another one."""


class Outage:
    """Context manager that turns expected exceptions of its body into a wait.

    The begin and the end of an outage are logged once each::

        outage = Outage(child, expected=(OSError,))
        while not child.stopping.is_set():
            async with outage:
                connection = await connect()
                outage.recovered()  # when that is known before the body ends
                await serve(connection)

    With ``retry_at_once`` the first try after a success comes without a delay.

    A group is expected if all exceptions in it are. Everything else passes through.
    """

    def __init__(
        self,
        child: ChildHandle,
        *,
        expected: tuple[type[Exception], ...],
        backoff_seconds: float = 0.1,
        backoff_max_seconds: float = MAX_RETRY_DELAY_SECONDS,
        retry_at_once: bool = False,
        clock: Callable[[], float] = anyio.current_time,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self._child = child
        self._expected = expected
        self._clock = clock
        self._backoff = Backoff(
            first_seconds=backoff_seconds, max_seconds=backoff_max_seconds, random=random
        )
        self._retry_at_once = retry_at_once
        self._started_at: float | None = None

    @property
    def ongoing(self) -> bool:
        """True between the first expected exception and the recovery."""
        return self._started_at is not None

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Wait for the backoff or the request to stop if the body failed as expected."""
        if error is None:
            self.recovered()
            return False
        leaves = flatten_group(error)
        if not all(isinstance(leaf, self._expected) for leaf in leaves):
            return False
        if self._child.stopping.is_set():  # The stop cut it off, or it no longer matters.
            return True
        at_once = self._retry_at_once and not self.ongoing
        self._begin(error)
        await self._child.pause(0.0 if at_once else self._backoff.next_delay())
        return True

    def recovered(self) -> None:
        """Record that the outage is over."""
        if self._started_at is not None:
            _log.info(
                "outage.ended", child=self._child.name, seconds=self._clock() - self._started_at
            )
            self._started_at = None
            self._child.status_note = ""
            self._child.outage(ongoing=False)
            self._backoff.reset()

    def _begin(self, error: BaseException) -> None:
        if self._started_at is None:
            self._started_at = self._clock()
            self._child.status_note = f"outage: {describe_error(error)}"
            self._child.outage(ongoing=True)
            _log.warning("outage.began", child=self._child.name, error=describe_error(error))
