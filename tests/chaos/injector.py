"""Carrying out the plan of faults."""

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg
from support.load_balancer import LoadBalancer
from support.postgres_proxy import ProxiedConnection
from support.roles import Role

from chaos.model import Model
from chaos.plan import Fault, Kind
from chaos.records import InjectedFault
from chaos.replicas import Replica
from chaos.tools import Tools
from chatd.embedded import Postgres

_SERVER_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""Errors of a connection to a server that is being restarted."""
_FORGET_SECONDS = 20.0
"""Time after which the server side of a lost connection ends, as by a keep-alive of TCP."""

MODEL_FAULTS = {
    Kind.MODEL_RATE_LIMIT: "rate_limit",
    Kind.MODEL_OVERLOADED: "overloaded",
    Kind.MODEL_REJECTS: "rejects",
    Kind.MODEL_TOO_LONG: "too_long",
    Kind.MODEL_CUT: "cut",
    Kind.MODEL_RESET: "reset",
    Kind.MODEL_SILENT: "silent",
    Kind.MODEL_GARBAGE: "garbage",
    Kind.MODEL_EMPTY: "empty",
    Kind.MODEL_SLOW: "slow",
}

Inject = Callable[[Fault, Replica, random.Random], Awaitable[bool]]


class Injector:
    """Executor of the faults of a plan, and their record."""

    def __init__(
        self,
        *,
        server: Postgres,
        role: Role,
        replicas: list[Replica],
        model: Model,
        tools: Tools,
        balancer: LoadBalancer,
    ) -> None:
        self.injected: list[InjectedFault] = []
        self.lost_responses = 0
        """Number of coming responses to lose."""
        self._server = server
        self._role = role
        self._replicas = {replica.name: replica for replica in replicas}
        self._model = model
        self._tools = tools
        self._balancer = balancer
        self._random = random.Random(0)
        self._server_changes = asyncio.Lock()
        self._inject: dict[Kind, Inject] = {
            Kind.KILL: self._kill,
            Kind.TERMINATE: self._terminate,
            Kind.PAUSE: self._pause,
            Kind.RELOAD: self._reload,
            Kind.CUT_ALL: self._cut_all,
            Kind.CUT_ONE: self._cut_one,
            Kind.LOSE_RESULTS: self._lose_results,
            Kind.BLACK_HOLE: self._black_hole,
            Kind.SLOW: self._slow,
            Kind.DROP_HINTS: self._change_hints,
            Kind.DOUBLE_HINTS: self._change_hints,
            Kind.REORDER_HINTS: self._change_hints,
            Kind.TERMINATE_BACKENDS: self._terminate_backends,
            Kind.LOCK_CHAT: self._lock_chat,
            Kind.RESTART_FAST: self._restart,
            Kind.RESTART_IMMEDIATE: self._restart,
            Kind.DENY_LOGIN: self._deny_login,
            Kind.MODEL_REFUSED: self._refuse_model,
            **dict.fromkeys(MODEL_FAULTS, self._model_fault),
            Kind.TOOLS_KILLED: self._kill_tools,
            Kind.TOOLS_STOPPED: self._stop_tools,
            Kind.TOOLS_SLOW: self._slow_tools,
            Kind.MCP_KILLED: self._kill_program,
            Kind.MCP_STOPPED: self._stop_program,
            Kind.RESET_CLIENTS: self._reset_clients,
            Kind.LOSE_RESPONSE: self._lose_response,
        }

    @property
    def admin_dsn(self) -> str:
        return self._role.admin_dsn

    async def run(self, faults: list[Fault], seconds: float) -> None:
        """Carry out the faults, each at its time. Return when the last one has ended."""
        start = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(max(0.0, start + fault.at - time.monotonic()))
                group.create_task(self._carry_out(fault))
            await asyncio.sleep(max(0.0, start + seconds - time.monotonic()))

    async def _carry_out(self, fault: Fault) -> None:
        record = InjectedFault(fault=fault, at=time.time())
        self.injected.append(record)
        replica = self._replicas[fault.replica]
        record.hit = await self._inject[fault.kind](fault, replica, random.Random(fault.seed))

    def response_byte_limit(self) -> int | None:
        """Return after how many bytes the next connection of a client is reset."""
        if self.lost_responses <= 0:
            return None
        self.lost_responses -= 1
        return self._random.choice([0, 0, 100, 1000, 5000])

    async def heal(self) -> None:
        """End whatever faults are left."""
        self.lost_responses = 0
        await self._role.execute("ALTER ROLE {role} LOGIN")
        for replica in self._replicas.values():
            replica.notifications.clear()
            replica.proxy.delay_seconds = 0.0
            replica.proxy.resume()
            if replica.process is not None and replica.running:
                replica.process.send_signal(signal.SIGCONT)
            replica.start()

    # -- processes

    async def _kill(self, fault: Fault, replica: Replica, _: random.Random) -> bool:
        process = replica.process
        hit = replica.signal(signal.SIGKILL)
        if hit and process is not None:
            await process.wait_for_exit()
        await asyncio.sleep(fault.seconds)
        replica.observe()
        replica.start()
        return hit

    async def _terminate(self, fault: Fault, replica: Replica, choose: random.Random) -> bool:
        if not replica.running:
            return False
        stopping = asyncio.create_task(replica.stop())
        if choose.random() < 0.2:
            await asyncio.sleep(fault.seconds)
            replica.signal(signal.SIGTERM)
        await stopping
        await asyncio.sleep(fault.seconds)
        replica.observe()
        replica.start()
        return True

    async def _pause(self, fault: Fault, replica: Replica, _: random.Random) -> bool:
        hit = replica.signal(signal.SIGSTOP)
        await asyncio.sleep(fault.seconds)
        replica.signal(signal.SIGCONT)
        return hit

    async def _reload(self, _: Fault, replica: Replica, __: random.Random) -> bool:
        return replica.reload()

    # -- connections to the database

    async def _cut_all(self, _: Fault, replica: Replica, __: random.Random) -> bool:
        hit = bool(replica.proxy.connections)
        replica.proxy.cut()
        return hit

    def _connections(self) -> list[ProxiedConnection]:
        """Return the connections of all replicas, so that one which starts is not the most probable."""
        return [each for replica in self._replicas.values() for each in replica.proxy.connections]

    async def _cut_one(self, _: Fault, __: Replica, choose: random.Random) -> bool:
        connections = self._connections()
        if connections:
            choose.choice(connections).cut()
        return bool(connections)

    async def _lose_results(self, fault: Fault, _: Replica, choose: random.Random) -> bool:
        connections = self._connections()
        if not connections:
            return False
        connection = choose.choice(connections)
        connection.drops_responses = True
        await asyncio.sleep(fault.seconds)
        connection.cut()
        return True

    async def _black_hole(self, fault: Fault, replica: Replica, choose: random.Random) -> bool:
        replica.proxy.stall()
        await asyncio.sleep(fault.seconds)
        forgotten = list(replica.proxy.connections)
        forget = choose.random() < 0.5
        replica.proxy.resume(forget=forget)
        if forget:
            await asyncio.sleep(_FORGET_SECONDS)
            for connection in forgotten:
                if not connection.flowing.is_set():
                    connection.cut()
        return True

    async def _slow(self, fault: Fault, replica: Replica, choose: random.Random) -> bool:
        replica.proxy.delay_seconds = choose.uniform(0.02, 0.4)
        await asyncio.sleep(fault.seconds)
        replica.proxy.delay_seconds = 0.0
        return True

    async def _change_hints(self, fault: Fault, replica: Replica, choose: random.Random) -> bool:
        number = choose.randint(1, 20)
        match fault.kind:
            case Kind.DROP_HINTS:
                replica.notifications.drop += number
            case Kind.DOUBLE_HINTS:
                replica.notifications.double += number
            case _:
                replica.notifications.reorder += number
        return True

    # -- the database

    async def _admin(self, work: Callable[[asyncpg.Connection], Awaitable[Any]]) -> Any:
        """Do something as the superuser, if the server lets us. Return None if it does not."""
        with suppress(*_SERVER_ERRORS):
            admin = await asyncpg.connect(self._role.admin_dsn, timeout=5)
            try:
                return await work(admin)
            finally:
                admin.terminate()
        return None

    async def _terminate_backends(self, _: Fault, __: Replica, choose: random.Random) -> bool:
        share = choose.choice([0.1, 0.2, 1.0])
        query = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE usename = $1 AND random() < $2"
        )
        return bool(await self._admin(lambda admin: admin.fetchval(query, self._role.name, share)))

    async def _lock_chat(self, fault: Fault, _: Replica, __: random.Random) -> bool:
        async def lock(admin: asyncpg.Connection) -> bool:
            async with admin.transaction():
                locked = await admin.fetch(
                    "SELECT FROM chats WHERE status IN ('running', 'pending') ORDER BY random()"
                    " LIMIT 1 FOR UPDATE SKIP LOCKED"
                )
                await asyncio.sleep(fault.seconds)
                return bool(locked)

        return bool(await self._admin(lock))

    async def _restart(self, fault: Fault, _: Replica, __: random.Random) -> bool:
        async with self._server_changes:
            await self._server.stop("fast" if fault.kind is Kind.RESTART_FAST else "immediate")
            await asyncio.sleep(fault.seconds)
            await self._server.start()
        return True

    async def _deny_login(self, fault: Fault, _: Replica, __: random.Random) -> bool:
        async with self._server_changes:
            with suppress(*_SERVER_ERRORS):
                await self._role.execute("ALTER ROLE {role} NOLOGIN")
                await self._role.disconnect()
            await asyncio.sleep(fault.seconds)
            with suppress(*_SERVER_ERRORS):
                await self._role.execute("ALTER ROLE {role} LOGIN")
        return True

    # -- the model, the tools and the clients

    async def _refuse_model(self, fault: Fault, _: Replica, __: random.Random) -> bool:
        await self._model.order(refuse_seconds=fault.seconds)
        return True

    async def _model_fault(self, fault: Fault, _: Replica, __: random.Random) -> bool:
        await self._model.order(fault=MODEL_FAULTS[fault.kind], calls=1)
        return True

    async def _kill_tools(self, fault: Fault, _: Replica, __: random.Random) -> bool:
        await self._tools.kill(fault.seconds)
        return True

    async def _stop_tools(self, fault: Fault, _: Replica, __: random.Random) -> bool:
        await self._tools.pause(fault.seconds)
        return True

    async def _slow_tools(self, fault: Fault, _: Replica, choose: random.Random) -> bool:
        await self._tools.delay(fault.seconds, choose.randint(1, 8))
        return True

    async def _kill_program(self, _: Fault, replica: Replica, __: random.Random) -> bool:
        return self._tools.signal_program(replica.name, signal.SIGKILL)

    async def _stop_program(self, fault: Fault, replica: Replica, _: random.Random) -> bool:
        stopped = self._tools.signal_program(replica.name, signal.SIGSTOP)
        await asyncio.sleep(fault.seconds)
        self._tools.signal_program(replica.name, signal.SIGCONT)
        return stopped

    async def _reset_clients(self, _: Fault, __: Replica, choose: random.Random) -> bool:
        share = choose.choice([0.02, 0.05, 0.25])
        return bool(self._balancer.reset_clients(lambda: choose.random() < share))

    async def _lose_response(self, _: Fault, __: Replica, choose: random.Random) -> bool:
        self._random = choose
        self.lost_responses += 1
        return True
