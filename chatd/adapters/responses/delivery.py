"""Responses to requests: followed as a stream, waited for, or answered as they are."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic_core import to_json
from starlette.responses import Response

from chatd.adapters.held_steps import holds_steps
from chatd.adapters.operations import ChatOperations
from chatd.adapters.responses.creation import BegunResponse
from chatd.adapters.responses.events import ResponseEvents
from chatd.adapters.responses.open_item import Event
from chatd.adapters.responses.reading import ReadResponse, ResponseReader, StoredResponse
from chatd.adapters.responses.request import CreateResponse
from chatd.adapters.responses.resource import ResponseHead
from chatd.adapters.sequence import TurnSequence
from chatd.adapters.turn_item_reader import Turn
from chatd.adapters.turn_items import (
    PartBegan,
    PartDelta,
    PartEnded,
    StepBegan,
    StepVoided,
    TurnItem,
)
from chatd.adapters.turn_stream import TurnStream, TurnStreamResponse, open_turn_stream
from chatd.api.errors.problems import HttpProblem
from chatd.domain.message import Message

_STREAM_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}
_WITHOUT_VOIDS: Final = 2
"""Transitions of a turn that was just begun, which void no answer: its message, and its claim."""


class Delivery:
    """Delivery of responses to one request: as a stream, once they are whole, or as they are."""

    def __init__(self, request: Request, operations: ChatOperations) -> None:
        self._request = request
        self._operations = operations
        self._reader = ResponseReader(operations.context, operations.caller.owner_id)

    async def begin(
        self, begun: BegunResponse, body: CreateResponse, headers: Mapping[str, str]
    ) -> Response:
        """Begin a response, and answer as the request asks for it."""
        if body.background and not body.stream:
            await begun.begin()
            return await self._as_it_is(begun, body, headers)
        turn = Turn()

        async def begin() -> Turn:
            nonlocal turn
            turn = await begun.begin()
            return turn

        stream = await open_turn_stream(
            self._request,
            self._operations,
            begun.id.chat_id,
            begin,
            first_step=begun.first_step,
            leaving_stops=begun.stops_with_client,
        )
        try:
            writer = await self._writer(stream, begun, body)
            began = _spell_all(writer.begin(queued=turn.message_id is None))
            if body.stream:
                return TurnStreamResponse(
                    stream, self._speller(writer), begin=began, headers=headers
                )
        except BaseException:
            stream.close()
            raise
        return await self._whole(stream, writer, begun, body, headers)

    async def _as_it_is(
        self, begun: BegunResponse, body: CreateResponse, headers: Mapping[str, str]
    ) -> Response:
        read = await self._reader.read(await self._reader.find(begun.id))
        asked = _asked_head(read.head, begun, body)
        return JSONResponse(read.resource(asked), headers=dict(headers))

    async def _writer(
        self, stream: TurnStream, begun: BegunResponse, body: CreateResponse
    ) -> ResponseEvents:
        """Return the writer of a response that was just begun, or that an earlier request began."""
        version = stream.version
        if version <= begun.version + _WITHOUT_VOIDS and body.model is not None:
            head = ResponseHead(
                id=begun.id, turn_id=begun.turn_id, created_at=datetime.now(UTC), model=body.model
            )
            sequence = TurnSequence()
        else:
            stored = await self._reader.find(begun.id)
            head, sequence = await self._position(stored, version)
        head = _asked_head(head, begun, body)
        return ResponseEvents(head, sequence, first_step=begun.first_step)

    async def _position(
        self, stored: StoredResponse, version: int, *, after: int | None = None
    ) -> tuple[ResponseHead, TurnSequence]:
        chat = await self._operations.context.store.reads.chat(
            stored.id.chat_id, owner_id=self._operations.caller.owner_id
        )
        messages: list[Message] = []
        if stored.turn.message_id is not None:
            messages, following = await self._reader.turn_messages(chat.id, stored.turn.message_id)
            version = min(version, following.version if following else version)
        trace = await self._reader.trace(stored, messages, until=version)
        head = await self._reader.head(stored, chat)
        return head, TurnSequence(trace.voids(messages), after=after)

    async def _whole(
        self,
        stream: TurnStream,
        writer: ResponseEvents,
        begun: BegunResponse,
        body: CreateResponse,
        headers: Mapping[str, str],
    ) -> Response:
        """Wait for the end of a response, or as long as this process can."""
        try:
            for item in await stream.collect(self._request):
                _spell_all(writer.events(item))
        except HttpProblem as problem:
            if problem.code != "not_ready":
                raise
            # The turn goes on elsewhere, and its client finds it by its id. To repeat this request
            # would begin another one.
            return await self._as_it_is(begun, body, headers)
        return JSONResponse(writer.response(), headers=dict(headers))

    async def resume(self, stored: StoredResponse, *, after: int | None) -> Response:
        """Stream a response, from the event after a number on."""
        read = await self._reader.read(stored, after=after)
        if read.writer.has_ended:
            return _finished_stream(read)

        async def attach() -> Turn:
            return stored.turn

        stream = await open_turn_stream(
            self._request,
            self._operations,
            stored.id.chat_id,
            attach,
            first_step=stored.first_step,
            resumes=True,
        )
        try:
            head, sequence = await self._position(stored, stream.version, after=after)
            writer = ResponseEvents(head, sequence, first_step=stored.first_step)
            began = _spell_all(writer.begin(queued=stored.version is None))
            return TurnStreamResponse(stream, self._speller(writer), begin=began)
        except BaseException:
            stream.close()
            raise

    def _speller(self, writer: ResponseEvents) -> Callable[[TurnItem], bytes]:
        """Return the function that spells items, each step at once if the request wants it so."""
        holds = holds_steps(self._request.scope)
        held: list[TurnItem] = []

        def spell(item: TurnItem) -> bytes:
            if isinstance(item, StepVoided):
                held.clear()
            elif holds and isinstance(item, StepBegan | PartBegan | PartDelta | PartEnded):
                held.append(item)
                return b""
            items = [*held, item]
            held.clear()
            return b"".join(
                _spell_all(writer.events(each)) for each in items if not writer.has_ended
            )

        return spell


def _asked_head(head: ResponseHead, begun: BegunResponse, body: CreateResponse) -> ResponseHead:
    """Return a head with what only the request says."""
    return replace(
        head,
        background=bool(body.background),
        store=body.store is not False,
        instructions=body.instructions,
        previous_response_id=body.previous_response_id,
        metadata=body.metadata or head.metadata,
        tools=begun.tools,
        tool_choice=str(body.tool_choice or "auto"),
    )


def _finished_stream(read: ReadResponse) -> Response:
    return Response(
        _spell_all(read.events), media_type="text/event-stream", headers=_STREAM_HEADERS
    )


def _spell_all(events: Iterable[Event]) -> bytes:
    return b"".join(map(_frame, events))


def _frame(event: Event) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), to_json(event))
