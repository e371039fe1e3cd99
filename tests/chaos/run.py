"""One run: replicas, clients and subscribers under a plan of faults; then rest, and the audit."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
from support.eventually import eventually
from support.load_balancer import LoadBalancer, load_balancer
from support.roles import PASSWORD, Role

from chaos.audit import Violation, audit
from chaos.callers import Caller
from chaos.evidence import FINAL_STATUSES, Evidence, read_rows
from chaos.figures import figures
from chaos.injector import Injector
from chaos.model import free_port, model_process
from chaos.plan import Kind, plan
from chaos.replicas import Replica, replica_processes, watch
from chaos.requests import Requester
from chaos.subscriptions import Subscribers
from chaos.tools import tool_process
from chatd.embedded import Postgres
from chatd.store.migrations import migrate

CALLERS = 40
_READY_SECONDS = 90.0
_IDLE_SECONDS = 120.0
_CATCH_UP_SECONDS = 30.0
_REPLAYED_REQUESTS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run found."""

    seed: int
    violations: list[Violation]
    figures: list[str]


async def _role(server: Postgres, source: Path | None) -> Role:
    """Create a role that may log in, and a database with the schema that belongs to it."""
    name = "chatd_chaos"
    admin = await asyncpg.connect(server.tcp_dsn)
    await admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    await admin.execute(f"CREATE DATABASE {name} OWNER {name}")
    await admin.close()
    parts = urlsplit(server.tcp_dsn)._replace(path=f"/{name}")
    host = parts.netloc.rpartition("@")[2]
    dsn = parts._replace(netloc=f"{name}:{PASSWORD}@{host}").geturl()
    await migrate.up(dsn, folder=None if source is None else source / "migrations")
    return Role(name=name, dsn=dsn, admin_dsn=parts.geturl())


async def _until_ready(replicas: list[Replica]) -> None:
    async with asyncio.timeout(_READY_SECONDS):
        for replica in replicas:
            while not await replica.is_ready():
                replica.start()
                await asyncio.sleep(0.1)


async def _until_idle(dsn: str) -> None:
    """Wait until no chat has work under way, or for as long as that may take."""
    connection = await asyncpg.connect(dsn)
    query = "SELECT count(*) = 0 FROM chats WHERE status <> ALL($1::text[])"
    with suppress(AssertionError):  # a rule of the audit finds what is left
        await eventually(
            lambda: connection.fetchval(query, [*FINAL_STATUSES]),
            _IDLE_SECONDS,
            interval_seconds=0.2,
        )
    await connection.close()


async def _replay_some(requester: Requester) -> None:
    keyed = [r for r in requester.requests if r.accepted and r.key is not None]
    for request in requester.random.sample(keyed, min(len(keyed), _REPLAYED_REQUESTS)):
        await requester.replay(request)


@asynccontextmanager
async def _calling(callers: list[Caller]) -> AsyncIterator[None]:
    """Run the clients. At the end each finishes the request that it is making."""
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for caller in callers:
            group.create_task(caller.run(stopping))
        yield
        stopping.set()


class Run:
    """One run, with everything that takes part in it."""

    def __init__(
        self,
        *,
        seed: int,
        seconds: float,
        per_minute: float,
        only: frozenset[Kind],
        source: Path | None,
    ) -> None:
        self._seed = seed
        self._seconds = seconds
        self._faults = plan(seed, seconds, per_minute, only)
        self._source = source

    async def run(self) -> Report:
        """Run, heal, wait until all is idle, and audit."""
        with tempfile.TemporaryDirectory() as folder:
            async with (
                Postgres(port=free_port(), settings={"max_connections": "300"}) as server,
                model_process(self._seed) as model,
                tool_process(Path(folder), self._seed) as tools,
            ):
                role = await _role(server, self._source)
                async with (
                    replica_processes(
                        Path(folder), role.dsn, model.url, tools, self._source
                    ) as replicas,
                    load_balancer(*(replica.port for replica in replicas)) as balancer,
                ):
                    watching = asyncio.create_task(watch(replicas))
                    try:
                        await _until_ready(replicas)
                        injector = Injector(
                            server=server,
                            role=role,
                            replicas=replicas,
                            model=model,
                            tools=tools,
                            balancer=balancer,
                        )
                        balancer.response_byte_limit = injector.response_byte_limit
                        evidence = await self._under_faults(injector, balancer, replicas)
                    finally:
                        watching.cancel()
                        with suppress(asyncio.CancelledError):
                            await watching
                    evidence.model_calls = model.calls
                    for replica in replicas:
                        await replica.stop()
                        replica.observe()
                        evidence.lives += replica.lives
                    evidence.faults = injector.injected
            evidence.effects = tools.effects()
        return Report(
            seed=self._seed,
            violations=audit(evidence),
            figures=list(figures(evidence, self._seconds)),
        )

    async def _under_faults(
        self, injector: Injector, balancer: LoadBalancer, replicas: list[Replica]
    ) -> Evidence:
        """Work under faults until the plan is over. Return the evidence when everything is idle."""
        requester = Requester(balancer.url, self._seed)
        subscribers = Subscribers(balancer.url, self._seed)
        try:
            callers = [Caller(requester, subscribers.follow) for _ in range(CALLERS)]
            async with _calling(callers):
                await injector.run(self._faults, self._seconds)
                await injector.heal()
            await _until_ready(replicas)
            await _until_idle(injector.admin_dsn)
            await _replay_some(requester)
            await _until_idle(
                injector.admin_dsn
            )  # a replay that was carried out again starts a turn
            evidence = await read_rows(injector.admin_dsn)
            versions = {chat_id: chat["version"] for chat_id, chat in evidence.chats.items()}
            evidence.pictures = await subscribers.finish(versions, _CATCH_UP_SECONDS)
            evidence.requests = requester.requests
            evidence.lost_attempts = requester.lost
            return evidence
        finally:
            await subscribers.aclose()
            await requester.aclose()


def run_chaos(
    *,
    seed: int,
    seconds: float,
    per_minute: float,
    only: frozenset[Kind] = frozenset(Kind),
    source: Path | None = None,
) -> Report:
    """Run once, on an event loop of its own."""
    run = Run(seed=seed, seconds=seconds, per_minute=per_minute, only=only, source=source)
    return asyncio.run(run.run())
