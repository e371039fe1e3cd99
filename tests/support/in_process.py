"""A real daemon in the process of the test, on a real database."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import anyio
import anyio.lowlevel
import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from chatd.daemon import Daemon
from chatd.llm.catalog import Catalog
from chatd.llm.provider import Provider
from chatd.settings import Settings
from chatd.store.database import Database
from support.eventually import TIMEOUT_SECONDS, eventually
from support.http import http_client
from support.providers import catalog, scripted
from support.sse_client import ApiClient

Logs = Sequence[Mapping[str, Any]]


FAST_TURNS: Mapping[str, Mapping[str, Any]] = {
    "database": {"pool_size": 5},
    "http": {"port": 0},
    "worker": {"shutdown_grace_seconds": 0},
    "turn": {"max_attempts": 3, "backoff_seconds": 0.01, "backoff_max_seconds": 0.02},
}
"""Short intervals, but leases of the default length: on a busy machine no chat may be reaped."""


NO_RENEWALS: Mapping[str, Any] = {"heartbeat_seconds": 600, "lease_seconds": 1800}
"""Settings of ``worker`` without heartbeats in a test: none renews a lease that the test has aged."""


def settings(dsn: str, **sections: Mapping[str, Any]) -> Settings:
    merged = {
        name: {**FAST_TURNS.get(name, {}), **sections.get(name, {})}
        for name in FAST_TURNS | sections
    }
    merged["database"]["url"] = dsn
    return Settings.model_validate(merged)


def _as_rendered(line: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a log line as it would be written, with ids as text."""
    return {key: str(value) if isinstance(value, UUID) else value for key, value in line.items()}


@dataclass
class InProcessDaemon:
    """One daemon, a client of it, and everything that was logged in this process."""

    daemon: Daemon
    api: ApiClient
    logs: Logs
    task: "asyncio.Task[None]"

    def logged(self, event: str, **fields: Any) -> list[Mapping[str, Any]]:
        lines = [_as_rendered(line) for line in list(self.logs) if line["event"] == event]
        return [line for line in lines if fields.items() <= line.items()]

    async def wait_for_log(self, event: str, **fields: Any) -> Mapping[str, Any]:
        found = await eventually(
            lambda: self.logged(event, **fields), describe=lambda: f"{event} in {self.logs[-20:]}"
        )
        return dict(found[0])

    async def journal(self, chat_id: str, transition: str | None = None) -> list[dict[str, Any]]:
        """Return the journal of a chat, or its entries of one transition."""
        answer = await self.api.http.get(f"/api/v1/chats/{chat_id}/events", params={"limit": 200})
        assert answer.status_code == 200, answer.text
        return [
            entry for entry in answer.json()["items"] if transition in {None, entry["transition"]}
        ]

    async def wait_until_no_chat_waits(self) -> None:
        """Wait until the worker knows that none does. It then claims chats with their messages."""
        assert self.daemon.actors.worker is not None
        claimer = self.daemon.actors.worker.claimer
        await eventually(lambda: claimer._waiting.at_most == 0)

    async def stop(self) -> None:
        """Stop in order, and check that the daemon ends without an error."""
        self.daemon.stop()
        with anyio.fail_after(TIMEOUT_SECONDS):
            await asyncio.wait([self.task])
        self.task.result()


@asynccontextmanager
async def running_daemon(
    dsn: str,
    provider: Provider | None = None,
    *,
    models: Sequence[str] = (),
    title_model: str | None = None,
    model_options: Mapping[str, Any] | None = None,
    **sections: Any,
) -> AsyncIterator[InProcessDaemon]:
    """Run one daemon."""
    async with running_daemons(
        dsn,
        [provider or scripted()],
        models=models,
        title_model=title_model,
        model_options=model_options,
        **sections,
    ) as daemons:
        yield daemons[0]


@asynccontextmanager
async def running_daemons(
    dsn: str,
    providers: Sequence[Provider],
    *,
    models: Sequence[str] = (),
    title_model: str | None = None,
    model_options: Mapping[str, Any] | None = None,
    **sections: Any,
) -> AsyncIterator[list[InProcessDaemon]]:
    """Run one daemon for each provider. At the end, check that none leaves a task behind.

    ``model_options`` are fields of each model.
    """
    async with AsyncExitStack() as stack:
        logs = _logs.get()
        if logs is None:
            logs = await stack.enter_async_context(_assert_no_leaks())
        yield [
            await stack.enter_async_context(
                _run_daemon(
                    settings(dsn, **sections),
                    catalog(provider, *models, title_model=title_model, **(model_options or {})),
                    logs,
                )
            )
            for provider in providers
        ]


@asynccontextmanager
async def _assert_no_leaks() -> AsyncIterator[Logs]:
    """Check that no task is left behind, and that no actor failed."""
    before = asyncio.all_tasks()
    with (
        pytest.MonkeyPatch.context() as patch,
        capture_logs(processors=[merge_contextvars]) as logs,
    ):
        # A reload configures the logs of this process, and loggers keep that.
        patch.setattr("chatd.logs.configure", lambda **_: None)
        token = _logs.set(logs)
        try:
            yield logs
        finally:
            _logs.reset(token)
    await eventually(
        lambda: not asyncio.all_tasks() - before,
        describe=lambda: f"tasks are left: {asyncio.all_tasks() - before}",
    )
    failed = [line for line in logs if line["event"] in _FORBIDDEN_LOG_EVENTS]
    assert not failed, failed


_logs: ContextVar[Logs | None] = ContextVar("logs", default=None)
"""The log lines of the outermost daemon of this test."""


_FORBIDDEN_LOG_EVENTS = frozenset(
    {
        "supervisor.child_failed",
        "supervisor.escalated",
        "supervisor.child_stuck",
        "chat.store_failed",
    }
)
"""Events that no test may cause."""


@asynccontextmanager
async def _run_daemon(
    daemon_settings: Settings, models: Catalog, logs: Logs
) -> AsyncIterator[InProcessDaemon]:
    daemon = Daemon(daemon_settings, catalog=models, handle_signals=False)
    task = asyncio.create_task(daemon.run(), name="daemon")
    try:
        ready = asyncio.create_task(daemon.supervisor.ready.wait())
        await asyncio.wait([ready, task], return_when="FIRST_COMPLETED", timeout=TIMEOUT_SECONDS)
        if not ready.done():
            ready.cancel()
            raise AssertionError(f"not ready: {logs}") from (
                task.done() and task.exception()
            ) or None
        assert daemon.server is not None
        url = f"http://127.0.0.1:{daemon.server.port}"
        async with http_client(url) as http:
            yield InProcessDaemon(daemon, ApiClient(http), logs, task)
    finally:
        daemon.stop()
        daemon.stop()  # a second call: do not wait for running turns
        with anyio.CancelScope(shield=True), anyio.move_on_after(TIMEOUT_SECONDS):
            await asyncio.wait([task])
        if not task.done():
            task.cancel()
            raise AssertionError("the daemon did not stop")
    task.result()


async def fetch_rows(database: Database, query: str, *args: object) -> list[dict[str, Any]]:
    """Return the rows of a query."""
    return [dict(row) for row in await database.fetch(query, *args)]
