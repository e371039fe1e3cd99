"""MCP server over standard input and output that a replica runs. Its effects go into the file of all tools.

``mcp_program.py LOG REPLICA SEED`` answers calls side by side, and ends a call that is cancelled.
"""

import asyncio
import json
import os
import random
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

from chaos.offered_tools import LARGE_BYTES, MCP_STDIO, MCP_TOOLS

SECONDS = {"slow": (0.5, 3.0), "never": (3600.0, 3600.0)}
"""Time that a call takes, by what the model wishes."""
QUICK_SECONDS = (0.0, 0.2)
GARBAGE = b'{"jsonrpc": "2.0", \xff\x00\n'


def text_result(text: str, *, is_error: bool = False) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], "isError": is_error}


def listed_tools() -> list[dict[str, Any]]:
    """Return the tools of a server, as it lists them."""
    return [{"name": name, "inputSchema": {"type": "object"}} for name in MCP_TOOLS]


def answer_of_protocol(request: dict[str, Any]) -> dict[str, Any] | None:
    """Return the result of a request that is no call. None: the server knows no such method."""
    match request["method"]:
        case "initialize":
            return {
                "protocolVersion": request["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "chaos", "version": "1"},
            }
        case "tools/list":
            return {"tools": listed_tools()}
        case "ping":
            return {}
    return None


class Program:
    """The server: a task for each call."""

    def __init__(self, log: int, replica: str, seed: int) -> None:
        self._log = log
        self._replica = replica
        self._random = random.Random(seed)
        self._numbers = count(1)
        self._calls: dict[Any, asyncio.Task[None]] = {}

    def handle(self, message: dict[str, Any]) -> None:
        """Answer a request, or end the call that a notification cancels."""
        if message.get("method") == "notifications/cancelled":
            if (call := self._calls.pop(message["params"]["requestId"], None)) is not None:
                call.cancel()
        elif message.get("method") == "tools/call":
            self._calls[message["id"]] = asyncio.create_task(self._call(message))
        elif "id" in message and "method" in message:
            result = answer_of_protocol(message)
            error = {"code": -32601, "message": "no such method"}
            self._write(message["id"], {"error": error} if result is None else {"result": result})

    def _write(self, request_id: Any, body: dict[str, Any]) -> None:
        line = {"jsonrpc": "2.0", "id": request_id, **body}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    def _record(self, **line: object) -> None:
        os.write(self._log, json.dumps(line).encode() + b"\n")

    async def _call(self, message: dict[str, Any]) -> None:
        params = message["params"]
        args, number = params["arguments"], f"{os.getpid()}-{next(self._numbers)}"
        how, end, text = args["how"], "cancelled", f"effect {number}."
        self._record(
            number=number,
            key=args["id"],
            tool=f"{MCP_STDIO}__{params['name']}",
            replica=self._replica,
            asked=args["asked"],
            call=args["call"],
            how=how,
            sent=None,
            began=time.time(),
        )
        try:
            await asyncio.sleep(self._random.uniform(*SECONDS.get(how, QUICK_SECONDS)))
            if how == "drops":
                end = "dropped"
                os._exit(3)
            end = "failed" if how == "fails" else "answered"
            body = text + ("x" * LARGE_BYTES if how == "large" else "")
            if self._random.random() < 0.1:
                sys.stdout.buffer.write(GARBAGE)
            self._write(message["id"], {"result": text_result(body, is_error=how == "fails")})
        finally:
            self._calls.pop(message["id"], None)
            self._record(number=number, ended=time.time(), closed=None, end=end, text=text)


async def main(log: str, replica: str, seed: int) -> None:
    program = Program(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), replica, seed)
    lines = asyncio.StreamReader(limit=1 << 24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        program.handle(json.loads(line))


if __name__ == "__main__":
    Path(f"{sys.argv[1]}.{sys.argv[2]}.pid").write_text(str(os.getpid()))
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
