"""McpServer: the actor of one server, and what callers ask of it."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import anyio
import structlog

from chatd.supervision.child import ChildHandle
from chatd.tools.mcp.availability import Availability, ServerState
from chatd.tools.mcp.calls import Call, CallQueue, failed, not_called
from chatd.tools.mcp.config import McpServerConfig, StdioEndpoint
from chatd.tools.mcp.connection import Connection, ConnectionLost, load_sdk, open_connection
from chatd.tools.mcp.known_tools import KnownTools
from chatd.tools.mcp.link import Link
from chatd.tools.mcp.listing import ToolList
from chatd.tools.mcp.reasons import failure_reason
from chatd.tools.tool import GivenInput, ReportProgress, ToolOutcome, ignore_progress

_log = structlog.get_logger()

STUCK_SECONDS: Final = 5.0
"""Time that the SDK has for leaving a call that was given up. Then the connection is closed."""
CLOSE_SECONDS: Final = 5.0
"""Time for closing a connection in order, which needs answers of the server."""
MAX_ABANDONED_CALLS: Final = 100
"""Abandoned calls of a connection before it is made anew. Each may keep a socket in the SDK."""
_MARGIN_SECONDS: Final = 0.5
"""Time that a caller waits for longer than the actor tries to connect, to learn the reason."""

Connect = Callable[[McpServerConfig, Link], AbstractAsyncContextManager[Connection]]


class McpServer:
    """One MCP server. ``run`` is its actor. The other methods are for callers, and use no SDK."""

    def __init__(
        self,
        config: McpServerConfig,
        *,
        connect: Connect = open_connection,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self._is_program = isinstance(config.endpoint, StdioEndpoint)
        self._connect = connect
        self._now = now
        self._state = ServerState.IDLE
        self._availability = Availability(now)
        self._known = KnownTools(config, now)
        self._queue = CallQueue()
        self._running = self._abandoned_calls = 0
        self._wake, self._drained = anyio.Event(), anyio.Event()
        self._link = Link()
        self._scope: anyio.CancelScope | None = None
        """Scope of the connection. None before the first one, as it needs the event loop."""
        self._child = ChildHandle(config.name)

    @property
    def state(self) -> ServerState:
        """The state. A server that failed is idle again when it is worth a try."""
        if self._state is ServerState.FAILED and not self._availability.pause_seconds:
            return ServerState.IDLE
        return self._state

    async def call(
        self,
        tool: str,
        args: Mapping[str, Any],
        *,
        seconds: float,
        on_progress: ReportProgress = ignore_progress,
        given: GivenInput | None = None,
    ) -> ToolOutcome:
        """Call a tool, and wait at most ``seconds`` for it, connecting included."""
        if self.state is ServerState.FAILED:
            return failed(not_called(self._unavailable()))
        if self._queue.is_full:
            return failed(not_called(f"MCP server {self.config.name} has too many calls waiting"))
        call = Call(tool, args, given=given, on_progress=on_progress, on_abandon=self._abandon)
        self._queue.add(call)
        self._wake.set()
        result = await call.wait(seconds)
        if result is None and call.started:
            return failed(f"Stopped after {seconds:g} s without a result. It may have had effects.")
        if result is None:
            reason = f"MCP server {self.config.name} did not take the call within {seconds:g} s"
            return failed(not_called(reason))
        return result

    @property
    def is_listed(self) -> bool:
        """True if waiting for the list of tools is of no use: it is known, or the server failed."""
        return self._known.list is not None or self.state is ServerState.FAILED

    async def tools(self) -> ToolList:
        """Return the tools of the server. Wait for them only if they have never been listed."""
        if not self.is_listed:
            self._want_list()
            await self._known.wait(self.config.connect_seconds + _MARGIN_SECONDS)
        return self.known_tools()

    def known_tools(self) -> ToolList:
        """Return the tools as they were last listed, and have the list read again if it is old."""
        known = self._known
        # A program that is idle would list what it did before.
        if (
            known.list
            and known.expired
            and (not self._is_program or self._state is ServerState.READY)
        ):
            self._want_list()
        return known.list or ToolList()

    @property
    def absence(self) -> str | None:
        """Words for people on why calls of the tools would fail now. None: they would not."""
        if self.state is ServerState.FAILED:
            return self._unavailable()
        if self._known.list is None:
            return f"MCP server {self.config.name} has not started yet"
        return None

    def retry_now(self) -> None:
        """Try a server that failed again, and read its list of tools anew."""
        self._availability.reset()
        self._want_list()

    async def drain(self) -> None:
        """Wait until no call is under way, at most as long as one may take. Nobody makes further ones."""
        with anyio.move_on_after(self.config.call_seconds):
            while self._queue or self._running:
                self._drained = anyio.Event()
                await self._drained.wait()

    async def run(self, child: ChildHandle) -> None:
        """Connect when there is something to do, until the stop."""
        self._child = child
        child.ready()
        try:
            with child.stopping.cancels():
                while True:
                    await self._wait_for_work()
                    if await self._load_sdk():
                        await self._use_connection()
        finally:
            self._state = ServerState.IDLE
            self._queue.fail_all(not_called("This server stops"))

    async def _load_sdk(self) -> bool:
        try:
            await load_sdk()
        except ImportError:
            self._link = Link()
            self._link.end("the extra mcp is not installed")
            self._fail()
            return False
        return True

    def _want_list(self) -> None:
        self._known.want()
        self._wake.set()

    def _abandon(self, call: Call) -> None:
        """Forget a call that its caller gave up."""
        self._queue.remove(call)
        if call.running:
            asyncio.get_running_loop().call_later(STUCK_SECONDS, self._drop_if_stuck, call)

    def _drop_if_stuck(self, call: Call) -> None:
        if call.running:
            self._link.end("it does not read what it is sent")
            self._cancel()

    def _cancel(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    async def _wait_for_work(self) -> None:
        while not (self._queue or self._known.wanted) or self.state is ServerState.FAILED:
            self._wake = anyio.Event()
            with anyio.move_on_after(self._availability.pause_seconds or None):
                await self._wake.wait()

    async def _use_connection(self) -> None:
        """Connect, and serve until the connection ends, fails, or has been idle for long enough."""
        self._link = link = Link(on_end=self._on_end)
        self._state = ServerState.CONNECTING
        started_at = self._now()
        error: Exception | None = None
        with anyio.CancelScope() as scope:
            self._scope = scope
            timer = asyncio.get_running_loop().call_later(
                self.config.connect_seconds, self._give_up_connecting
            )
            try:
                async with self._connect(self.config, link) as connection:
                    listing = await connection.list_tools()
                    timer.cancel()
                    if not link.ended:
                        self._known.take(listing)
                        self._ready(self._now() - started_at)
                        await self._serve(connection)
                    scope.deadline = anyio.current_time() + CLOSE_SECONDS
            except Exception as raised:  # noqa: BLE001 - a server's data may have the SDK raise anything
                error = raised
            finally:
                timer.cancel()
        self._leave(error)

    def _on_end(self) -> None:
        self._wake.set()
        if self._state is ServerState.CONNECTING:
            self._fail()
            self._cancel()

    def _give_up_connecting(self) -> None:
        """Fail at once, although the SDK will take its time to come back."""
        self._link.end(f"it was not ready within {self.config.connect_seconds:g} s")

    def _ready(self, seconds: float) -> None:
        self._state = ServerState.READY
        self._availability.connect()
        self._link.forget_refusal()
        self._child.status_note = ""
        tools = len(self._known.list.tools) if self._known.list else 0
        _log.info("mcp.ready", server=self.config.name, tools=tools, seconds=round(seconds, 3))

    async def _serve(self, connection: Connection) -> None:
        """Make the calls that come, until the connection ends or nothing comes for long."""
        self._abandoned_calls = 0
        async with anyio.create_task_group() as group:
            listing = False
            while not self._link.ended:
                is_worn = self._abandoned_calls >= MAX_ABANDONED_CALLS
                if is_worn and not self._running:
                    break
                while self._queue and self._running < self.config.max_calls and not is_worn:
                    call = self._queue.next()
                    call.running, self._running = True, self._running + 1
                    group.start_soon(self._make_call, connection, call)
                if self._known.wanted and not listing:
                    listing = True
                    group.start_soon(self._list_again, connection)
                self._wake = anyio.Event()
                idle = self._is_program and not self._running
                with anyio.move_on_after(self.config.idle_seconds if idle else None) as pause:
                    await self._wake.wait()
                listing = listing and self._known.wanted
                if pause.cancelled_caught and not self._queue:
                    break
            group.cancel_scope.cancel()

    async def _list_again(self, connection: Connection) -> None:
        try:
            with anyio.move_on_after(self.config.connect_seconds):
                self._known.take(await connection.list_tools())
        except ConnectionLost as lost:
            self._link.end(str(lost))
        if self._known.wanted:
            self._known.give_up()
        self._wake.set()

    async def _make_call(self, connection: Connection, call: Call) -> None:
        call.started = True
        try:
            with call.scope:
                call.settle(await connection.call(call.tool, call.args, call.report, call.given))
                self._availability.reset()
        except ConnectionLost as lost:
            self._link.end(str(lost))
        finally:
            reason = self._link.reason or "the connection was closed"
            call.fail(f"MCP server {self.config.name}: {reason}. The call may have had effects.")
            call.running, self._running = False, self._running - 1
            self._abandoned_calls += call.abandoned
            self._wake.set()
            self._drained.set()

    def _leave(self, error: Exception | None) -> None:
        """Record the end of a connection."""
        if self._state is ServerState.CONNECTING:
            self._link.end(failure_reason(self._link, error))
        elif self._state is ServerState.READY:
            self._state = ServerState.IDLE
            if error is not None or self._link.ended:
                reason = failure_reason(self._link, error)
                _log.warning("mcp.lost", server=self.config.name, reason=reason)
                if self._availability.lose_connection():
                    self._link.end(reason)
                    self._fail()

    def _fail(self) -> None:
        self._state = ServerState.FAILED
        reason = self._link.reason
        pause = self._availability.fail(reason)
        self._child.status_note = f"not available: {reason}"
        self._known.give_up()
        if self._known.list is None:
            self._known.want()  # after the pause, so that no turn has to wait for that try
        self._queue.fail_all(not_called(self._unavailable()))
        output = self._link.error_output.decode(errors="replace")
        _log.warning(
            "mcp.failed",
            server=self.config.name,
            reason=reason,
            error_output=output,
            retry_seconds=pause,
        )

    def _unavailable(self) -> str:
        return f"MCP server {self.config.name} is not available: {self._availability.reason}"
