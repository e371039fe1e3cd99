"""Three ``chatd run`` processes, each behind a proxy of its own and started again when it ends."""

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from support.http import NO_TLS
from support.notification_faults import NotificationFaults
from support.postgres_proxy import PostgresProxy, postgres_proxy
from support.processes import ChatdProcess

from chaos.families import MAX_WAIT_SECONDS
from chaos.model import free_port
from chaos.model_process import CONTEXT_TOKENS
from chaos.offered_tools import HOWS, HTTP_POLICIES, MCP_HTTP, MCP_STDIO, MCP_TOOLS
from chaos.plan import LEASE_SECONDS, REPLICAS
from chaos.records import Life
from chaos.tool_process import MCP_PATH
from chaos.tools import TESTS, TIMEOUT_SECONDS, Tools

_STOP_SECONDS = 45.0
"""Longest time from SIGTERM to the end of a process, whatever the database does meanwhile."""
_LAST_LINES = 30
IDEMPOTENT = [tool for tool, policy in MCP_TOOLS.items() if policy == "idempotent"]

SETTINGS = f"""
[database]
pool_size = 6
statement_timeout_seconds = 5
connect_timeout_seconds = 5
[http]
sse_keepalive_seconds = 2
[worker]
max_chats = 20
heartbeat_seconds = {LEASE_SECONDS / 3:g}
lease_seconds = {LEASE_SECONDS:g}
max_recoveries = 10
shutdown_grace_seconds = 3
[turn]
max_attempts = %(max_attempts)s
backoff_seconds = 0.2
backoff_max_seconds = 2
stream_idle_timeout_seconds = 8
model_call_timeout_seconds = 30
client_tool_timeout_seconds = 8
[agents]
enabled = true
max_wait_seconds = {MAX_WAIT_SECONDS:g}
[tools]
builtin = ["ask_user_question"]
rules = {{ pay = "ask" }}
approval_seconds = 10
parallel = 4
timeout_seconds = {TIMEOUT_SECONDS:g}
output_bytes = 4096
"""
_ENDPOINT = """
description = "Do it."
url = "%(tools_url)s/{name}"
headers = {{ x-replica = "%(replica)s" }}
policy = "{policy}"
read_only = {read_only}
[http_tools.{name}.parameters]
type = "object"
required = ["asked", "how"]
[http_tools.{name}.parameters.properties]
how = {{ enum = {hows} }}
"""
TOOLS = "".join(
    f"[http_tools.{name}]"
    + _ENDPOINT.format(
        name=name, policy=policy, read_only=json.dumps(name == "read"), hows=list(HOWS)
    )
    for name, policy in HTTP_POLICIES.items()
)
MCP = f"""
[mcp.{MCP_HTTP}]
url = "%(tools_url)s{MCP_PATH}"
headers = {{ x-replica = "%(replica)s" }}
idempotent = {IDEMPOTENT}
call_seconds = {TIMEOUT_SECONDS:g}
[mcp.{MCP_STDIO}]
command = %(python)s
args = %(program_args)s
env = {{ PYTHONPATH = "{TESTS}" }}
idempotent = {IDEMPOTENT}
call_seconds = {TIMEOUT_SECONDS:g}
connect_seconds = 10
"""
MODELS = """
[providers.chaos]
kind = "openai-compatible"
base_url = "%(url)s"
headers = { x-replica = "%(replica)s", x-generation = "%(max_attempts)s" }
[models.chaos]
provider = "chaos"
model = "m"
context_limit = %(context_tokens)s
default = true
"""


class Replica:
    """One replica: a process, its port, and its proxy to PostgreSQL."""

    def __init__(
        self,
        name: str,
        folder: Path,
        proxy: PostgresProxy,
        notifications: NotificationFaults,
        model_url: str,
        tools: Tools,
        source: Path | None,
    ) -> None:
        self.name = name
        self.port = free_port()
        self.proxy = proxy
        self.notifications = notifications
        self.lives: list[Life] = []
        self.process: ChatdProcess | None = None
        self._folder = folder
        self._model_url = model_url
        self._tools = tools
        self._source = source
        self._scanned = 0
        self._max_attempts = 4

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.process.poll() is None

    @property
    def life(self) -> Life:
        return self.lives[-1]

    def start(self) -> None:
        """Start a process, unless one runs."""
        if self.running:
            return
        how: dict[str, Any] = {}
        if self._source is not None:
            how = {"cwd": self._source, "environment": {"PYTHONPATH": str(self._source)}}
        self.process = ChatdProcess(
            self._folder,
            self.proxy.dsn,
            self.name,
            *self._configuration(),
            self.port,
            **how,
        )
        self._scanned = 0
        self.lives.append(Life(replica=self.name, pid=self.process.process.pid, began=time.time()))

    def _configuration(self) -> tuple[str, str]:
        values = {
            "url": self._model_url,
            "tools_url": self._tools.url,
            "python": json.dumps(sys.executable),
            "program_args": json.dumps(self._tools.program_args(self.name)),
            "replica": self.name,
            "max_attempts": self._max_attempts,
            "context_tokens": CONTEXT_TOKENS,
        }
        return SETTINGS % values, (MODELS + TOOLS + MCP) % values

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal. Return False if no process runs."""
        if not self.running or self.process is None:
            return False
        self.life.signals.append((time.time(), number.name))
        self.process.send_signal(number)
        return True

    def reload(self) -> bool:
        """Change the configuration, the provider's included, and send SIGHUP."""
        if not self.running or self.process is None or not self.process.logged("daemon.ready"):
            return False  # before that SIGHUP ends the process, as it does any other
        self._max_attempts = 4 + (self._max_attempts + 1) % 3
        self.process.config.write_text("\n".join(self._configuration()))
        return self.signal(signal.SIGHUP)

    async def stop(self) -> None:
        """Send SIGTERM, and wait for the end of the process; kill it if that takes too long."""
        process, life = self.process, self.life
        if process is None or not self.signal(signal.SIGTERM):
            return
        try:
            await process.wait_for_exit(_STOP_SECONDS)
        except AssertionError:
            life.hung = True
            self.signal(signal.SIGKILL)
            await process.wait_for_exit()

    def observe(self) -> None:
        """Read new log lines, and note the end of the process."""
        if self.process is None or (life := self.life).ended is not None:
            return
        ended = self.process.process.poll() is not None
        if ended:
            self.process._reader.join(5)
        lines = self.process.lines[self._scanned :]
        self._scanned += len(lines)
        counts = Counter(life.events)
        for line in lines:
            counts[line.get("event", "?")] += 1
            if line.get("event") == "daemon.starting":
                life.worker_id = line["worker_id"]
            if line.get("level") not in {"info", "debug"} or "exception" in line:
                life.notable.append(line)
        life.events = dict(counts)
        if ended:
            life.ended, life.exit_code = time.time(), self.process.process.returncode
            life.last_lines = list(deque(self.process.raw_lines, _LAST_LINES))
            self.process.kill()

    async def is_ready(self) -> bool:
        try:
            async with httpx2.AsyncClient(verify=NO_TLS, timeout=2) as client:
                return (await client.get(f"{self.url}/readyz")).status_code == 200
        except httpx2.RequestError:
            return False


async def watch(replicas: list[Replica]) -> None:
    """Observe the processes for as long as the run lasts. Start again what ended by itself."""
    while True:
        for replica in replicas:
            replica.observe()
            if replica.lives and replica.life.ended is not None and ended_by_itself(replica.life):
                replica.start()
        await asyncio.sleep(0.2)


def ended_by_itself(life: Life) -> bool:
    """Return whether a process ended although nobody had asked it to."""
    return life.ended is not None and not any(
        name in {"SIGKILL", "SIGTERM"} for _, name in life.signals
    )


@asynccontextmanager
async def replica_processes(
    folder: Path, dsn: str, model_url: str, tools: Tools, source: Path | None
) -> AsyncIterator[list[Replica]]:
    """Start the replicas. Those that run at the end are killed."""
    async with AsyncExitStack() as stack:
        replicas = []
        for name in REPLICAS:
            proxy = await stack.enter_async_context(postgres_proxy(dsn))
            proxy.keeps_sent = False
            notifications = NotificationFaults()
            proxy.response_filter = notifications.filter
            replicas.append(Replica(name, folder, proxy, notifications, model_url, tools, source))
        try:
            for replica in replicas:
                replica.start()
            yield replicas
        finally:
            for replica in replicas:
                if replica.process is not None:
                    replica.process.kill()


def cpu_seconds() -> float:
    """Return the time that this process and the ended processes of the run computed."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
