"""The stream of a completion: its begin, which decides the status, and its end."""

from collections.abc import AsyncIterator, Mapping

import anyio
from fastapi import Request
from starlette.responses import Response

from chatd.adapters.completions.chunks import ChunkWriter
from chatd.adapters.turn_stream import StreamCut, TurnStream, TurnStreamResponse
from chatd.api.errors.problems import HttpProblem
from chatd.api.scope import CONNECTION, EXCHANGE
from chatd.api.sse import KEEP_ALIVE


async def respond(
    request: Request, stream: TurnStream, writer: ChunkWriter, headers: Mapping[str, str]
) -> Response:
    """Return the response that sends a stream.

    It waits for the first words, as long as a connection may be silent: a turn that fails before has a
    status of its own, which clients know how to repeat.
    """
    is_sent = False
    try:
        begin = await _first_words(request, stream, writer)
        if writer.error is not None and not writer.has_begun:
            return writer.error.response(headers)
        response = TurnStreamResponse(stream, writer.spell, headers=headers)
        response.body_iterator = _body(begin, stream, writer)
        is_sent = True
        return response
    finally:
        if not is_sent:
            stream.close()
            await stream.finish()


async def _first_words(request: Request, stream: TurnStream, writer: ChunkWriter) -> bytes:
    """Return the first chunks; none if there are none for a while."""
    request.scope[EXCHANGE].release_slots()
    connection = request.scope[CONNECTION]
    begun_at, patience = anyio.current_time(), stream.operations.context.keepalive_seconds
    connection.on_loss(stream.disconnect)
    try:
        async for batch in stream.items():
            words = b"".join(map(writer.spell, batch))
            is_late = anyio.current_time() - begun_at >= patience
            if words or writer.error is not None or not batch or is_late:
                return words
    except StreamCut:
        raise HttpProblem("not_ready", "This process stops; try again.") from None
    finally:
        connection.forget(stream.disconnect)
    return b""


async def _body(begin: bytes, stream: TurnStream, writer: ChunkWriter) -> AsyncIterator[bytes]:
    """Yield the chunks, with comments that keep the connection alive. An error is the last one."""
    yield begin or KEEP_ALIVE
    items = stream.items()
    while writer.error is None and (batch := await anext(items, None)) is not None:
        yield b"".join(map(writer.spell, batch)) or KEEP_ALIVE
