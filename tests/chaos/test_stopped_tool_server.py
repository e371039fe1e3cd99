"""A tool server that is stopped while a turn ends reads requests late. The audit knows when they came."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path

import httpx2
import pytest
from support.client_tools import provider_of_rounds
from support.eventually import eventually
from support.http import http_client
from support.in_process import InProcessDaemon, running_daemon

from chaos.audit import tool_times as rules
from chaos.evidence import Evidence, read_rows
from chaos.mcp_program import SECONDS
from chaos.records import Effect, Life
from chaos.tools import Tools, tool_process
from chatd.worker.tool_execution import ToolExecution

_SLACK_SECONDS = 0.5
_CALLER = {"x-replica": "a"}
_CALL = [("pay", '{"asked": "m1", "call": 1, "how": "slow"}')]


@pytest.fixture(autouse=True)
def _little_slack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "_SLACK_SECONDS", _SLACK_SECONDS)


@asynccontextmanager
async def running(dsn: str, folder: Path) -> AsyncIterator[tuple[InProcessDaemon, Tools]]:
    """Run a tool server, and a daemon whose model calls its tool ``pay`` once."""
    async with tool_process(folder, seed=1) as tools:
        pay = {
            "description": "Pay.",
            "url": f"{tools.url}/pay",
            "headers": {"x-replica": "a"},
            "parameters": {"type": "object"},
        }
        async with running_daemon(dsn, provider_of_rounds(_CALL), http_tools={"pay": pay}) as chatd:
            yield chatd, tools


@contextmanager
def stopped(tools: Tools) -> Iterator[None]:
    """Stop the process, in a way that no record tells."""
    assert tools._process is not None
    os.kill(tools._process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(tools._process.pid, signal.SIGCONT)


def request_waits(port: int) -> bool:
    """Return whether a connection to a port holds bytes that nobody has read."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = [fields for fields in lines if fields[3] == "01"]
    return any(
        int(fields[1].partition(":")[2], 16) == port and int(fields[4].partition(":")[2], 16)
        for fields in established
    )


async def interrupted_while_stopped(chatd: InProcessDaemon, tools: Tools) -> float:
    """Interrupt a turn whose tool server is stopped. Return the moment at which its end was stored."""
    with stopped(tools):
        chat = await chatd.api.create("go")
        await eventually(lambda: request_waits(tools.port))
        await chatd.api.interrupt(chat["id"])
        await chatd.api.wait_for_status(chat["id"], "waiting")
        [end] = await chatd.journal(chat["id"], "finish_interrupt")
        ended_at = datetime.fromisoformat(end["created_at"]).timestamp()
        await eventually(lambda: time.time() > ended_at + 1.2 * _SLACK_SECONDS)
    return ended_at


async def audited(dsn: str, chatd: InProcessDaemon, tools: Tools) -> tuple[Effect, Evidence]:
    """Return the one effect, when it has ended, and the evidence."""
    await eventually(lambda: any(effect.ended for effect in tools.effects()))
    evidence = await read_rows(dsn)
    evidence.effects = tools.effects()
    worker_id = str(chatd.daemon.worker_id)
    evidence.lives = [Life(replica="a", worker_id=worker_id, pid=os.getpid(), began=0.0)]
    [effect] = evidence.effects
    return effect, evidence


async def test_request_sent_before_the_stop_is_no_violation(dsn: str, tmp_path: Path) -> None:
    async with running(dsn, tmp_path) as (chatd, tools):
        ended_at = await interrupted_while_stopped(chatd, tools)
        effect, evidence = await audited(dsn, chatd, tools)
    assert effect.began > ended_at + _SLACK_SECONDS, "the server read the request late"
    assert list(rules.nothing_runs_after_a_stop(evidence)) == []
    assert effect.sent < ended_at
    assert effect.closed is not None
    assert effect.closed < ended_at + _SLACK_SECONDS


async def test_connection_that_stays_open_after_the_stop_is_a_violation(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ToolExecution, "cancel", lambda _: None)
    async with running(dsn, tmp_path) as (chatd, tools):
        ended_at = await interrupted_while_stopped(chatd, tools)
        effect, evidence = await audited(dsn, chatd, tools)
    assert effect.sent < ended_at
    assert effect.closed is None
    assert list(rules.nothing_runs_after_a_stop(evidence))


async def test_cancellation_of_mcp_that_stood_in_the_socket_counts_from_when_it_was_sent(
    tmp_path: Path,
) -> None:
    """The server goes on when the time of its call is over, and reads meanwhile that nobody waits."""
    async with tool_process(tmp_path, seed=1) as tools, http_client(tools.url) as http:
        args = {"asked": "m1", "call": 1, "how": "slow", "id": "call_1_0"}
        call = {"id": 7, "method": "tools/call", "params": {"name": "append", "arguments": args}}
        waiting = asyncio.create_task(http.post("/mcp", json=call, headers=_CALLER))
        await eventually(tools.effects)
        with stopped(tools):
            over = {"method": "notifications/cancelled", "params": {"requestId": 7}}
            cancelling = asyncio.create_task(http.post("/mcp", json=over, headers=_CALLER))
            await eventually(lambda: request_waits(tools.port))
            sent = time.time()
            [effect] = tools.effects()
            await eventually(lambda: time.time() > effect.began + SECONDS["slow"][1])
        assert (await cancelling).status_code == 202
        with pytest.raises(httpx2.RemoteProtocolError):
            await waiting
        [effect] = tools.effects()
    assert (effect.end, effect.closed) == ("cancelled", pytest.approx(sent, abs=0.2))
