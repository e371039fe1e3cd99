"""Middleware that admits requests once the process has started, and ends those under way when it stops."""

from collections.abc import Collection

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatd.api.errors import problems


class Admission:
    """Admission of requests: closed until ``open`` is called, and after ``end_requests``."""

    def __init__(self) -> None:
        self.closed_because: str | None = "starting"
        """The phase of the process in which it takes no requests. None: it takes them."""
        self._unanswered: set[anyio.CancelScope] = set()

    def open(self) -> None:
        """Admit requests from now on."""
        self.closed_because = None

    def end_requests(self) -> None:
        """Answer 503 from now on, also to requests under way that have no response yet."""
        self.closed_because = "stopping"
        for scope in tuple(self._unanswered):
            scope.cancel()

    def started(self, scope: anyio.CancelScope) -> None:
        """Note a request that runs in ``scope``."""
        self._unanswered.add(scope)

    def answered(self, scope: anyio.CancelScope) -> None:
        """Note that the response to a request has started, or that it has ended without one."""
        self._unanswered.discard(scope)


class AdmissionMiddleware:
    """Middleware that answers 503 to requests before the start, except to ``open_paths``, and at the stop.

    A request that waits for something that does not respond, such as a database during an outage, gets its
    response before the server would drop its connection. Streams end in their own way.
    """

    def __init__(self, app: ASGIApp, *, admission: Admission, open_paths: Collection[str]) -> None:
        self._app = app
        self._admission = admission
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        phase = self._admission.closed_because
        if phase is not None and scope["path"] not in self._open_paths:
            await _not_ready(phase)(scope, receive, send)
            return
        with anyio.CancelScope() as unanswered:
            self._admission.started(unanswered)

            async def send_and_note(message: Message) -> None:
                self._admission.answered(unanswered)
                await send(message)

            try:
                await self._app(scope, receive, send_and_note)
            finally:
                self._admission.answered(unanswered)
        if unanswered.cancelled_caught:
            await _not_ready("stopping")(scope, receive, send)


def _not_ready(phase: str) -> ASGIApp:
    return problems.problem_response("not_ready", f"Not ready: {phase}.")
