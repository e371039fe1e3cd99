"""Admission of requests once the process has started, and the end of those under way when it stops."""

import asyncio
from typing import Any

from chatd.api.errors.problems import HttpProblem


class Admission:
    """Admission of requests: closed until ``open`` is called, and after ``end_requests``.

    A request that waits for something that does not respond, such as a database during an outage, gets its
    response before the server would drop its connection. Streams end in their own way.
    """

    def __init__(self) -> None:
        self.closed_because: str | None = "starting"
        """The phase of the process in which it takes no requests. None: it takes them."""
        self.closes_connections = False
        """True while each response is to be the last on its connection.

        The server would close kept-alive connections by itself, and a client that is just sending its next
        request on one would get a reset instead of a response.
        """
        self._unanswered: set[asyncio.Task[Any]] = set()
        self._ended: set[asyncio.Task[Any]] = set()
        """Those of the tasks that ``end_requests`` has cancelled."""

    def open(self) -> None:
        """Admit requests from now on."""
        self.closed_because = None
        self.closes_connections = False

    def end_requests(self) -> None:
        """Answer 503 from now on, also to requests under way that have no response yet."""
        self.closed_because = "stopping"
        self._ended |= self._unanswered
        for task in tuple(self._unanswered):
            task.cancel()

    def check(self) -> None:
        """Raise ``HttpProblem`` (503) while no requests are taken."""
        if self.closed_because is not None:
            raise HttpProblem("not_ready", f"Not ready: {self.closed_because}.")

    def started(self, task: asyncio.Task[Any]) -> None:
        """Note a request that runs in ``task``. It has no cancel scope, which would cost 11 us."""
        self._unanswered.add(task)

    def answered(self, task: asyncio.Task[Any]) -> None:
        """Note that the response to a request has begun, or that it has ended without one."""
        self._unanswered.discard(task)

    def check_cancelled(self, task: asyncio.Task[Any]) -> None:
        """Raise ``HttpProblem`` (503) if a task was cancelled by ``end_requests``. It goes on then."""
        if task in self._ended:
            self._ended.discard(task)
            task.uncancel()
            self.check()
