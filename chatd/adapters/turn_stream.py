"""Streams of one turn: opened with the transition that begins it, sent in a dialect's spelling."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from uuid import UUID

from fastapi import Request
from starlette.responses import Response

from chatd.adapters.operations import ChatOperations
from chatd.adapters.turn_item_reader import Turn
from chatd.adapters.turn_items import TurnItem


class TurnStream:
    """The items of a turn for one client. It is closed by the code that opened it, or by its response."""

    chat_id: UUID

    def items(self) -> AsyncIterator[Sequence[TurnItem]]:
        """Yield items in batches, until one ends the stream. An empty batch: nothing came for a while.

        Raises ``StreamCut`` where the turn goes on without this stream.
        """
        raise NotImplementedError

    async def collect(self) -> Sequence[TurnItem]:
        """Return all items, and close the stream. The request counts for its owner no more meanwhile."""
        raise NotImplementedError


async def open_turn_stream(
    request: Request,
    operations: ChatOperations,
    chat_id: UUID,
    transition: Callable[[], Awaitable[Turn]],
    *,
    first_step: int = 0,
    leaving_stops: bool = False,
    follows_queue: bool = False,
) -> TurnStream:
    """Subscribe to a chat, make a ``transition`` of it, and return the stream of the turn that it returns.

    Steps before ``first_step`` are left out: their client has them. With ``leaving_stops`` the turn is
    interrupted when its client leaves. With ``follows_queue`` the turns of queued messages follow.
    Raises ``HttpProblem`` (429) before anything is done, and what ``transition`` raises.
    """
    raise NotImplementedError


class TurnStreamResponse(Response):
    """Response that sends a stream as ``spell`` says.

    ``begin`` comes first, and ``end`` last unless the stream was cut: then the connection is aborted, since
    a clean end would pass for the end of the answer.
    """

    def __init__(
        self,
        stream: TurnStream,
        spell: Callable[[TurnItem], bytes],
        *,
        begin: bytes = b"",
        end: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        raise NotImplementedError
