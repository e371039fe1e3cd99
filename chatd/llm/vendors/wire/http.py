"""HTTP client of an SDK that hands it normalised responses. Imported late."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from typing import Any, Protocol, TypeAlias

import anyio
import httpx2

from chatd.llm.errors import InvalidProviderResponse, ProviderConfigError, ProviderError
from chatd.llm.vendors.wire.event_stream import (
    MAX_EVENT_BYTES,
    EventParser,
    is_start_of_bom,
    strip_start,
)
from chatd.llm.vendors.wire.record import AnswerRecord, current_answer
from chatd.llm.vendors.wire.values import parse_json

MAX_ANSWER_BYTES = 256 * 1024 * 1024
"""Most bytes of one answer: with 500 bytes an event, far more than any model writes."""
MAX_ERROR_BYTES = 1024 * 1024
"""Most bytes that are read of a response with an error status."""
TRAILER_SECONDS = 10.0
"""Longest wait for what follows the finish reason: the usage, the terminator."""
END_SECONDS = 0.25
"""Longest wait for the end of the body after the terminator, without which no connection is used again."""
_MAX_REDIRECTS = 3
_UNCHANGED_REDIRECTS = (307, 308)
"""Redirects that keep the method and the body. The others make a GET of a POST."""
_REPLACED_HEADERS = frozenset(
    {"content-type", "content-encoding", "content-length", "transfer-encoding"}
)


class Normalizer(Protocol):
    """Normaliser of one answer of an API."""

    def events(self, name: str, data: bytes) -> Iterator[bytes]:
        """Yield the records of one event."""
        ...

    def whole(self, body: object) -> Iterator[bytes]:
        """Yield the records of an answer that came as one JSON object."""
        ...


NormalizerFactory: TypeAlias = Callable[[AnswerRecord], Normalizer]


class NormalizingClient(httpx2.AsyncClient):
    """Client whose responses hold what the SDK understands, or raise when they are read.

    An exception within ``send`` would reach the caller as a network error of the SDK. So everything that is
    wrong with a response is raised when its body is read.
    """

    def __init__(self, *, normalizer: NormalizerFactory, **options: Any) -> None:
        super().__init__(**options)
        self._normalizer = normalizer

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send a request. A redirect is followed only within its origin."""
        record = current_answer.get()
        options |= {"stream": True, "follow_redirects": False}
        request = record.uploads.fill(request)
        response = await super().send(request, **options)
        for _ in range(_MAX_REDIRECTS):
            if not _is_followed(response, request):
                break
            await response.aclose()
            assert response.next_request is not None  # noqa: S101 - see _is_followed
            response = await super().send(response.next_request, **options)
        record.responded = True
        record.on_bytes()
        if response.status_code >= httpx2.codes.BAD_REQUEST:
            return _replaced(response, _BoundedStream(response, record))
        if not response.is_success:
            return _replaced(response, _UnreadStream(response, _redirect_error(response)))
        stream = _AnswerStream(response, record, self._normalizer(record))
        return _replaced(response, stream, content_type="text/event-stream")


def _is_followed(response: httpx2.Response, request: httpx2.Request) -> bool:
    target = response.next_request
    if target is None or response.status_code not in _UNCHANGED_REDIRECTS:
        return False
    return _origin(target.url) == _origin(request.url)


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _redirect_error(response: httpx2.Response) -> Exception:
    target = response.next_request
    if target is None:
        return ProviderError("The response is neither an answer nor an error.")
    place = f"{target.url.scheme}://{target.url.host}"
    return ProviderConfigError("base_url", f"the provider redirects to {place[:100]}")


def _replaced(
    response: httpx2.Response, stream: httpx2.AsyncByteStream, *, content_type: str = ""
) -> httpx2.Response:
    """Return a response with the same headers and another body."""
    kept = [
        (name, value)
        for name, value in response.headers.multi_items()
        if name.lower() not in _REPLACED_HEADERS
    ]
    content_type = content_type or response.headers.get("content-type", "")
    status = response.status_code if response.is_error else httpx2.codes.OK
    return httpx2.Response(
        status,
        headers=[*kept, ("content-type", content_type)],
        stream=stream,
        request=response.request,
        extensions=response.extensions,
    )


class _ReplacedBody(httpx2.AsyncByteStream):
    """Body in place of a response's own, which is closed with it."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response

    async def aclose(self) -> None:
        await self._response.aclose()


class _UnreadStream(_ReplacedBody):
    """Body that raises instead of being read."""

    def __init__(self, response: httpx2.Response, error: Exception) -> None:
        super().__init__(response)
        self._error = error

    def __aiter__(self) -> AsyncIterator[bytes]:
        raise self._error


class _BoundedStream(_ReplacedBody):
    """Body of an error response. What exceeds the bound is not read."""

    def __init__(self, response: httpx2.Response, record: AnswerRecord) -> None:
        super().__init__(response)
        self._record = record

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        size = 0
        async with aclosing(self._response.aiter_bytes()) as chunks:
            async for chunk in chunks:
                self._record.on_bytes()
                yield chunk
                size += len(chunk)
                if size > MAX_ERROR_BYTES:
                    return


class _AnswerStream(_ReplacedBody):
    """Body of an answer, normalised."""

    def __init__(
        self, response: httpx2.Response, record: AnswerRecord, normalizer: Normalizer
    ) -> None:
        super().__init__(response)
        self._record = record
        self._normalizer = normalizer
        self._ended_at: float | None = None

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        if self._response.is_stream_consumed or self._response.is_closed:
            return  # the SDK drains a stream that it has read
        head = b""
        async with aclosing(self._chunks()) as chunks:
            async for chunk in chunks:
                head = strip_start(head + chunk)
                if head and not is_start_of_bom(head):
                    break
            if head.startswith(b"<"):
                raise InvalidProviderResponse("it is an HTML page, as of a gateway or a log-in")
            read = self._whole if head.startswith((b"{", b"[")) else self._events
            async with aclosing(read(head, chunks)) as records:
                async for record in records:
                    yield record

    async def _events(
        self, head: bytes, chunks: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes, None]:
        parser, records = EventParser(), self._records
        if out := b"".join(records(parser.feed(head))):
            yield out
        async for chunk in chunks:
            if (events := parser.feed(chunk)) and (out := b"".join(records(events))):
                yield out
        if not self._record.ended and (out := b"".join(self._last_records(parser))):
            yield out

    def _records(self, events: list[tuple[str, bytes]]) -> Iterator[bytes]:
        for name, data in events:
            try:
                yield from self._normalizer.events(name, data)
            except (ProviderError, InvalidProviderResponse):
                if not self._record.ended:
                    raise
                return  # the answer was complete before

    def _last_records(self, parser: EventParser) -> Iterator[bytes]:
        try:
            yield from self._records(parser.finish())
        except InvalidProviderResponse:
            return  # the last event was cut off

    async def _whole(
        self, head: bytes, chunks: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes, None]:
        pieces, size = [head], len(head)
        async for chunk in chunks:
            pieces.append(chunk)
            size += len(chunk)
            if size > MAX_EVENT_BYTES:
                raise InvalidProviderResponse(f"it has more than {MAX_EVENT_BYTES} bytes")
        if out := b"".join(self._normalizer.whole(parse_json(b"".join(pieces)))):
            yield out

    async def _chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of the body. Once the answer has ended, neither wait for long nor raise."""
        size, record = 0, self._record
        async with aclosing(self._response.aiter_bytes()) as source:
            while True:
                try:
                    chunk = await (self._trailer(source) if record.ended else anext(source))
                except StopAsyncIteration:
                    return
                except httpx2.HTTPError:
                    if record.ended:
                        return
                    raise
                record.on_bytes()
                size += len(chunk)
                if size > MAX_ANSWER_BYTES:
                    raise InvalidProviderResponse(f"it has more than {MAX_ANSWER_BYTES} bytes")
                yield chunk

    async def _trailer(self, source: AsyncIterator[bytes]) -> bytes:
        """Return the next bytes after the end of the answer. Raise ``StopAsyncIteration`` after a while."""
        if self._ended_at is None:
            self._ended_at = anyio.current_time()
        seconds = END_SECONDS if self._record.terminated else TRAILER_SECONDS
        with anyio.CancelScope(deadline=self._ended_at + seconds):
            return await anext(source)
        raise StopAsyncIteration
