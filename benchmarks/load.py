"""Load generator: ``python -m benchmarks.load`` reads tasks, one JSON object a line, and answers each.

The clients run in a process of their own, so that they do not share the daemon's event loop. They parse no
more of a response than they need.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import Awaitable, Callable

from benchmarks.http1 import HttpConnection, connect
from benchmarks.load_tenants import (
    fill_owner,
    owner_at_every_limit,
    quiet_owner,
    release_owner,
)
from benchmarks.load_turns import (
    EMPTY_BODY,
    FIRST_PART,
    QUESTION,
    TURN_END,
    TURN_TASKS,
    Task,
    create_chat,
    wait_for_turn_end,
)

_PART = re.compile(rb'event: message_part\r?\ndata: [^\n]*"text":"(\d+) "')

_held_streams: list[HttpConnection] = []
_current_chat: tuple[HttpConnection, HttpConnection, str]


async def open_chat(task: Task) -> Task:
    """Open a chat for ``send_loop``, and its stream, until ``close_held``."""
    global _current_chat  # noqa: PLW0603 - one at a time, for the life of the process
    connection, stream = await connect(task["url"]), await connect(task["url"])
    chat_id = await create_chat(connection, EMPTY_BODY)
    stream.request_stream(f"/api/v1/chats/{chat_id}/stream")
    _current_chat = (connection, stream, f"/api/v1/chats/{chat_id}/messages")
    _held_streams.extend((connection, stream))
    await wait_for_turn_end(stream, 0)
    return {}


async def send_loop(task: Task) -> Task:
    """Send a message, wait on the open stream for the end of the turn, pause, repeat."""
    connection, stream, path = _current_chat
    sent = []
    for _ in range(task["turns"]):
        place = len(stream.buffer)
        sent.append(time.monotonic())
        await connection.post(path, QUESTION)
        await wait_for_turn_end(stream, place)
        await asyncio.sleep(task["pause"])
    return {"sent": sent}


async def follow_two(task: Task) -> Task:
    """Follow chats on two replicas at once; return the age of each part on arrival, in seconds."""
    worker: list[float] = []
    other: list[float] = []

    async def one() -> None:
        connection = await connect(task["worker"])
        chat_id = await create_chat(connection, EMPTY_BODY)
        streams = [await connect(task[name]) for name in ("worker", "other")]
        for stream in streams:
            stream.request_stream(f"/api/v1/chats/{chat_id}/stream")
        places = [await wait_for_turn_end(stream, 0) for stream in streams]
        await connection.post(f"/api/v1/chats/{chat_id}/messages", QUESTION)
        ages = zip(streams, places, (worker, other), strict=True)
        await asyncio.gather(*(_collect_ages(*each) for each in ages))
        for each in (connection, *streams):
            each.close()

    await asyncio.gather(*(one() for _ in range(task["chats"])))
    return {"worker": worker, "other": other}


async def _collect_ages(stream: HttpConnection, place: int, ages: list[float]) -> None:
    """Note the age of every part up to the end of the turn; a part holds its creation time."""
    while TURN_END.search(stream.buffer, place) is None:
        now = time.monotonic()
        for part in _PART.finditer(stream.buffer, place):
            ages.append(now - int(part[1]) / 1e9)
            place = part.end()
        await stream.wait_for_data()


async def hold_streams(task: Task) -> Task:
    """Open chats, each with a stream that stays open; with a ``question`` they are leased too."""
    connection = await connect(task["url"])
    body = json.dumps({"content": task["question"]}).encode() if task["question"] else EMPTY_BODY
    shown = FIRST_PART if task["question"] else TURN_END
    for _ in range(task["chats"]):
        chat_id = await create_chat(connection, body)
        stream = await connect(task["url"])
        stream.request_stream(f"/api/v1/chats/{chat_id}/stream")
        await stream.wait_for(shown)
        _held_streams.append(stream)
    connection.close()
    return {}


async def close_held(_task: Task) -> Task:
    """Close the held streams."""
    while _held_streams:
        _held_streams.pop().close()
    return {}


async def wait(task: Task) -> Task:
    """Do nothing, and keep the streams open."""
    await asyncio.sleep(task["seconds"])
    return {}


TASKS: dict[str, Callable[[Task], Awaitable[Task]]] = TURN_TASKS | {
    each.__name__: each
    for each in (
        open_chat,
        send_loop,
        follow_two,
        hold_streams,
        close_held,
        wait,
        quiet_owner,
        fill_owner,
        owner_at_every_limit,
        release_owner,
    )
}


async def main() -> None:
    """Run tasks until standard input ends."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        task = json.loads(line)
        try:
            answer = await TASKS[task["do"]](task)
        except Exception as error:  # noqa: BLE001 - sent to the client, which reports it
            answer = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
