"""A server of tools, and of MCP, in a process of its own. It logs the beginning and the end of each effect.

Orders on standard input are lines of JSON: ``{"delay_seconds": 3, "calls": 5}`` is for the next five calls.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

from support.tool_endpoint import ToolCallRequest, ToolEndpoint, response

from chaos.mcp_program import QUICK_SECONDS, SECONDS, answer_of_protocol, text_result
from chaos.offered_tools import LARGE_BYTES, MCP_HTTP
from chaos.packet_times import packet_times

MCP_PATH = "/mcp"
_READING_TICKS = 20
"""Ticks of the loop in which a request is read for certain, from its connection on."""
_BACKLOG = 1000
"""Connections that wait while the process is stopped. Beyond that, they would be made anew, and be late."""


class _Call:
    """A call of a tool, and how it is answered."""

    def __init__(
        self, tool: str, key: str, args: dict[str, Any], respond: Callable[[str, bool], bytes]
    ) -> None:
        self.tool = tool
        self.key = key
        self.args = args
        self.respond = respond
        self.cancelled_at: float | None = None
        self._task = asyncio.current_task()

    def cancel(self, at: float) -> None:
        """End the call, which its caller gave up at a moment of the clock."""
        self.cancelled_at = at
        assert self._task is not None
        self._task.cancel()


async def _read_what_has_come() -> None:
    """Let the loop read what stands in the sockets: a call of MCP is cancelled by another request."""
    for _ in range(_READING_TICKS):
        await asyncio.sleep(0)


def _mcp_call(message: dict[str, Any]) -> _Call:
    """Return the call of a request of MCP."""

    def respond(body: str, failed: bool) -> bytes:
        return _message(message["id"], text_result(body, is_error=failed))

    params = message["params"]
    tool, args = f"{MCP_HTTP}__{params['name']}", params["arguments"]
    return _Call(tool, args["id"], args, respond)


def _http_response(body: str, failed: bool) -> bytes:
    return response(body, status=500 if failed else 200)


def _message(request_id: Any, result: dict[str, Any]) -> bytes:
    """Return the response that carries a result of MCP."""
    body = json.dumps({"jsonrpc": "2.0", "id": request_id, "result": result})
    return response(body, headers="content-type: application/json\r\n")


class ChaosTools(ToolEndpoint):
    """Endpoint whose every effect has a text of its own. Calls end as the model wishes, or a fault."""

    def __init__(self, log: int, seed: int) -> None:
        super().__init__(answer=self._answer)
        self.delays: deque[float] = deque()
        self._log = log
        self._numbers = count(1)
        self._mcp_calls: dict[tuple[str, Any], _Call] = {}
        """Calls of MCP that run, by the replica and the id of their request."""
        self._random = random.Random(seed)

    def _write(self, **line: object) -> None:
        # One write, so that a process which is killed leaves whole lines.
        os.write(self._log, json.dumps(line).encode() + b"\n")

    async def _answer(self, request: ToolCallRequest) -> bytes:
        if request.target == MCP_PATH:
            return await self._answer_mcp(request)
        tool = request.target.removeprefix("/")
        return await self._run(request, _Call(tool, request.key, request.json, _http_response))

    async def _answer_mcp(self, request: ToolCallRequest) -> bytes:
        """Answer as an MCP server over streamable HTTP that keeps no session."""
        if request.method != "POST":
            return response("", status=405)
        message, replica = request.json, request.headers["x-replica"]
        if message["method"] == "notifications/cancelled":
            running = self._mcp_calls.get((replica, message["params"]["requestId"]))
            if running is not None:
                running.cancel(packet_times(request.connection).data_at)
        if "id" not in message:
            return response("", status=202)
        if message["method"] != "tools/call":
            result = answer_of_protocol(message)
            return response("", status=404) if result is None else _message(message["id"], result)
        call = _mcp_call(message)
        self._mcp_calls[replica, message["id"]] = call
        try:
            return await self._run(request, call)
        except asyncio.CancelledError:
            if call.cancelled_at is None:
                raise
            raise ConnectionAbortedError from None  # nobody waits for an answer
        finally:
            self._mcp_calls.pop(
                (replica, message["id"]), None
            )  # a new session begins to count anew

    async def _run(self, request: ToolCallRequest, call: _Call) -> bytes:
        """Have one effect, as long and as well as the arguments say."""
        number, how = f"{os.getpid()}-{next(self._numbers)}", call.args["how"]
        self._write(
            number=number,
            key=call.key,
            tool=call.tool,
            replica=request.headers["x-replica"],
            asked=call.args["asked"],
            call=call.args["call"],
            how=how,
            sent=packet_times(request.connection).data_at,
            began=time.time(),
        )
        end, text = "cancelled", f"effect {number}."
        try:
            delay = self.delays.popleft() if self.delays else 0.0
            await asyncio.sleep(delay + self._random.uniform(*SECONDS.get(how, QUICK_SECONDS)))
            await _read_what_has_come()
            if how == "drops":
                end = "dropped"
                raise ConnectionAbortedError
            end = "failed" if how == "fails" else "answered"
            if how == "streams" and request.target != MCP_PATH:
                pieces = [f" {n}" for n in range(self._random.randint(2, 12))]
                text += "".join(pieces)
                end = "cancelled"
                last = await self._stream([f"effect {number}.", *pieces], request)
                end = "answered"
                return last
            body = text + ("x" * LARGE_BYTES if how == "large" else "")
            return call.respond(body, how == "fails")
        finally:
            caller = packet_times(request.connection)
            closed = call.cancelled_at or (None if caller.is_open else caller.packet_at)
            self._write(number=number, ended=time.time(), closed=closed, end=end, text=text)

    async def _stream(self, pieces: list[str], request: ToolCallRequest) -> bytes:
        """Send a body of text in pieces, so that it is shown while it comes. Return the last one."""
        head = response("".join(pieces), headers="content-type: text/plain\r\n")
        request.write(head[: head.index(b"\r\n\r\n") + 4])
        for piece in pieces[:-1]:
            request.write(piece.encode())
            await asyncio.sleep(self._random.uniform(0.1, 0.4))
        return pieces[-1].encode()


async def main(seed: int, port: int, log: str) -> None:
    tools = ChaosTools(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), seed)
    server = await asyncio.start_server(tools.serve, "127.0.0.1", port, backlog=_BACKLOG)
    print(json.dumps({"listening": True}), flush=True)
    orders = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        order = json.loads(line)
        tools.delays.extend([order["delay_seconds"]] * order["calls"])
    server.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
