"""A chatd in this process: the real daemon on a real database, with a provider that a test directs."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import anyio
import anyio.lowlevel
import httpx2
from described import is_described
from running import FACT_SECONDS, Client, fact
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from chatd.daemon import Daemon
from chatd.domain.chat import Usage
from chatd.llm.catalog import Catalog, ModelConfig
from chatd.llm.provider import Delta, Finished, ModelRequest, PartDelta, Provider
from chatd.llm.script import parse_script
from chatd.llm.scripted import ScriptedProvider
from chatd.settings import Settings
from chatd.store.pool import Database

Logs = Sequence[Mapping[str, Any]]
Acting = Callable[[ModelRequest], AsyncIterator[Delta]]

ECHO = [{"text": "You said: {message}", "chunks": 4}]

QUICK: Mapping[str, Mapping[str, Any]] = {
    "database": {"pool_size": 5},
    "http": {"port": 0},
    "worker": {"shutdown_grace_seconds": 0},
    "turn": {"max_attempts": 3, "backoff_seconds": 0.01, "backoff_max_seconds": 0.02},
}
"""Little patience, but leases of the usual length: a busy machine must not cost a test its chats."""

STEADY: Mapping[str, Any] = {"heartbeat_seconds": 600, "lease_seconds": 1800}
"""For ``worker``: no beat tells it anything meanwhile, or renews a lease that a test has aged."""


class Acted:
    """A provider that does what a function says; ``record_call`` holds the requests so far."""

    name = "acted"

    def __init__(self, act: Acting) -> None:
        self.act = act
        self.called: list[ModelRequest] = []

    async def warm(self) -> None:
        await anyio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()

    def stream(self, request: ModelRequest) -> AbstractAsyncContextManager[AsyncIterator[Delta]]:
        self.called.append(request)
        return aclosing(self.act(request))  # type: ignore[type-var]


def said(text: str, index: int = 0) -> PartDelta:
    return PartDelta({"index": index, "type": "text", "text": text})


def done(reason: str = "stop") -> Finished:
    return Finished(reason, Usage(input_tokens=1, output_tokens=1))


def tool_call(name: str, call_id: str, args: str = "{}", index: int = 0) -> PartDelta:
    return PartDelta(
        {
            "index": index,
            "type": "tool-call",
            "tool_call_id": call_id,
            "tool_name": name,
            "args": args,
        }
    )


def asked(request: ModelRequest) -> str:
    """What the user said last."""
    last = [m for m in request.messages if m.role == "user"][-1]
    return "".join(part.get("text", "") for part in last.content)


def catalog(provider: Provider, *models: str) -> Catalog:
    """Models ``one`` (the default) and ``two``, or as named, of one provider."""
    names = models or ("one", "two")
    return Catalog(
        models=[
            ModelConfig(name=name, provider="p", model=f"m-{name}", default=name == names[0])
            for name in names
        ],
        providers={"p": provider},
    )


def scripted(
    script: Sequence[Mapping[str, Any]] = ECHO,
    **scripts: Sequence[Mapping[str, Any]],
) -> ScriptedProvider:
    return ScriptedProvider(
        script=parse_script(script, key="script"),
        scripts={
            name.replace("_", "-"): parse_script(steps, key=name) for name, steps in scripts.items()
        },
    )


def settings(dsn: str, **sections: Mapping[str, Any]) -> Settings:
    merged = {name: {**QUICK.get(name, {}), **sections.get(name, {})} for name in QUICK | sections}
    merged["database"]["url"] = dsn
    return Settings.model_validate(merged)


def _written(line: Mapping[str, Any]) -> Mapping[str, Any]:
    """A log line as it would be written: ids are text there."""
    return {key: str(value) if isinstance(value, UUID) else value for key, value in line.items()}


@dataclass
class Inside:
    """One daemon, a client of it, and everything that was logged in this process."""

    daemon: Daemon
    api: Client
    logs: Logs
    task: "asyncio.Task[None]"

    def said(self, event: str, **fields: Any) -> list[Mapping[str, Any]]:
        lines = [_written(line) for line in list(self.logs) if line["event"] == event]
        return [line for line in lines if fields.items() <= line.items()]

    async def says(self, event: str, **fields: Any) -> Mapping[str, Any]:
        found = await fact(
            lambda: self.said(event, **fields), what=lambda: f"{event} in {self.logs[-20:]}"
        )
        return dict(found[0])

    async def moves(self, chat_id: str, move: str | None = None) -> list[dict[str, Any]]:
        """The journal of a chat, or its rows of one move."""
        answer = await self.api.http.get(f"/api/v1/chats/{chat_id}/events", params={"limit": 200})
        assert answer.status_code == 200, answer.text
        return [entry for entry in answer.json()["items"] if move in {None, entry["move"]}]

    async def stop(self) -> None:
        """Stop in order, and see that it ends well."""
        self.daemon.stop()
        with anyio.fail_after(FACT_SECONDS):
            await asyncio.wait([self.task])
        self.task.result()


@asynccontextmanager
async def one(
    dsn: str, provider: Provider | None = None, *, models: Sequence[str] = (), **sections: Any
) -> AsyncIterator[Inside]:
    """One daemon."""
    async with several(dsn, [provider or scripted()], models=models, **sections) as daemons:
        yield daemons[0]


@asynccontextmanager
async def several(
    dsn: str, providers: Sequence[Provider], *, models: Sequence[str] = (), **sections: Any
) -> AsyncIterator[list[Inside]]:
    """As many daemons as there are providers. At the end nothing may be left of any of them."""
    async with AsyncExitStack() as stack:
        logs = _logs.get()
        if logs is None:
            logs = await stack.enter_async_context(_nothing_left())
        yield [
            await stack.enter_async_context(
                _started(settings(dsn, **sections), catalog(provider, *models), logs)
            )
            for provider in providers
        ]


@asynccontextmanager
async def _nothing_left() -> AsyncIterator[Logs]:
    """See that no task is left behind, and that no actor failed."""
    before = asyncio.all_tasks()
    with capture_logs(processors=[merge_contextvars]) as logs:
        token = _logs.set(logs)
        try:
            yield logs
        finally:
            _logs.reset(token)
    await fact(
        lambda: not asyncio.all_tasks() - before,
        what=lambda: f"tasks are left: {asyncio.all_tasks() - before}",
    )
    failed = [line for line in logs if line["event"] in _NEVER]
    assert not failed, failed


_logs: ContextVar[Logs | None] = ContextVar("logs", default=None)
"""Of the outermost daemon of this test."""

_NEVER = frozenset(
    {
        "supervisor.child_failed",
        "supervisor.escalated",
        "supervisor.child_stuck",
        "chat.store_failed",
    }
)
"""What no test here is about, and none may cause."""


@asynccontextmanager
async def _started(given: Settings, models: Catalog, logs: Logs) -> AsyncIterator[Inside]:
    daemon = Daemon(given, catalog=models, handle_signals=False)
    task = asyncio.create_task(daemon.run(), name="daemon")
    try:
        ready = asyncio.create_task(daemon.supervisor.ready.wait())
        await asyncio.wait([ready, task], return_when="FIRST_COMPLETED", timeout=FACT_SECONDS)
        if not ready.done():
            ready.cancel()
            raise AssertionError(f"not ready: {logs}") from (
                task.done() and task.exception()
            ) or None
        assert daemon.server is not None
        url = f"http://127.0.0.1:{daemon.server.port}"
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
        async with httpx2.AsyncClient(
            base_url=url,
            timeout=FACT_SECONDS,
            limits=limits,
            event_hooks={"response": [is_described]},
        ) as http:
            yield Inside(daemon, Client(http), logs, task)
    finally:
        daemon.stop()
        daemon.stop()  # do not wait for turns that are running
        with anyio.CancelScope(shield=True), anyio.move_on_after(FACT_SECONDS):
            await asyncio.wait([task])
        if not task.done():
            task.cancel()
            raise AssertionError("the daemon did not stop")
    task.result()


async def rows(database: Database, query: str, *args: object) -> list[dict[str, Any]]:
    """What is in the database."""
    return [dict(row) for row in await database.fetch(query, *args)]
