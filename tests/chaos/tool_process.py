"""A server of tools in a process of its own. It appends the beginning and the end of each effect to a file.

Orders on standard input are lines of JSON: ``{"delay_seconds": 3, "calls": 5}`` is for the next five calls.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections import deque
from itertools import count

from support.tool_endpoint import ToolCallRequest, ToolEndpoint, response

from chaos.packet_times import packet_times

LARGE_BYTES = 200_000
SECONDS = {"slow": (0.5, 3.0), "never": (3600.0, 3600.0)}
"""Time that a call takes, by what the model wishes."""
_QUICK_SECONDS = (0.0, 0.2)
_BACKLOG = 1000
"""Connections that wait while the process is stopped. Beyond that, they would be made anew, and be late."""


class ChaosTools(ToolEndpoint):
    """Endpoint whose every effect has a text of its own. Calls end as the model wishes, or a fault."""

    def __init__(self, log: int, seed: int) -> None:
        super().__init__(answer=self._answer)
        self.delays: deque[float] = deque()
        self._log = log
        self._numbers = count(1)
        self._random = random.Random(seed)

    def _write(self, **line: object) -> None:
        # One write, so that a process which is killed leaves whole lines.
        os.write(self._log, json.dumps(line).encode() + b"\n")

    async def _answer(self, request: ToolCallRequest) -> bytes:
        number, how = f"{os.getpid()}-{next(self._numbers)}", request.json["how"]
        self._write(
            number=number,
            key=request.key,
            tool=request.target.removeprefix("/"),
            replica=request.headers["x-replica"],
            asked=request.json["asked"],
            call=request.json["call"],
            how=how,
            sent=packet_times(request.connection).data_at,
            began=time.time(),
        )
        end, text = "cancelled", f"effect {number}."
        try:
            delay = self.delays.popleft() if self.delays else 0.0
            await asyncio.sleep(delay + self._random.uniform(*SECONDS.get(how, _QUICK_SECONDS)))
            if how == "drops":
                end = "dropped"
                raise ConnectionAbortedError
            end = "failed" if how == "fails" else "answered"
            if how == "streams":
                pieces = [f" {n}" for n in range(self._random.randint(2, 12))]
                text += "".join(pieces)
                end = "cancelled"
                last = await self._stream([f"effect {number}.", *pieces], request)
                end = "answered"
                return last
            body = text + ("x" * LARGE_BYTES if how == "large" else "")
            return response(body, status=500 if how == "fails" else 200)
        finally:
            caller = packet_times(request.connection)
            closed = None if caller.is_open else caller.packet_at
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
