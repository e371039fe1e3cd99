"""HTTP requests that are repeated until they are answered, and executed once."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from email.utils import parsedate_to_datetime
from time import time
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import anyio
import httpx2

from chatd.client.backoff import Backoff
from chatd.client.errors import (
    ChatdHTTPError,
    ClientError,
    ConnectFailed,
    NotFound,
    UnexpectedResponse,
    http_error,
)

_METHODS_WITH_IDEMPOTENCY_KEY = frozenset({"POST", "PATCH"})
_NON_RETRYABLE_ERRORS = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)
"""Errors that no retry cures: the address or a header is invalid."""


TokenSource = str | Callable[[], str | Awaitable[str]]
"""A token, or a function that returns the one to send with the next request."""


def api_path(*segments: str | int) -> str:
    """Return a path of the API. Each segment stays one, whatever it is made of.

    Raises ``ValueError`` for a segment that no spelling keeps in its place: empty, ``.`` or ``..``.
    """
    texts = [str(segment) for segment in segments]
    for text in texts:
        if text in {"", ".", ".."}:
            raise ValueError(f"not an id: {text!r}")
    return "".join(f"/{quote(text, safe='')}" for text in texts)


def drop_none(**fields: Any) -> dict[str, Any]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


class Http:
    """Connection pool to one chatd, or to several behind one address."""

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str],
        token: TokenSource | None,
        timeout_seconds: float,
        read_timeout_seconds: float,
        retry_timeout_seconds: float | None,
    ) -> None:
        self._base_url = base_url
        self._token = token
        self._retry_timeout_seconds = retry_timeout_seconds
        self._stream_timeout = httpx2.Timeout(timeout_seconds, read=read_timeout_seconds, pool=None)
        self._http = httpx2.AsyncClient(
            base_url=f"{base_url.rstrip('/')}/api/v1",
            headers={name.encode(): _header_bytes(value) for name, value in headers.items()},
            timeout=timeout_seconds,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20),
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        raw: bool = False,
        done_code: str | None = None,
    ) -> Any:
        """Return the JSON of the response, or None if it has no body. With ``raw``, return its bytes.

        The request is repeated while the connection fails or the server requests a retry. A POST or PATCH
        carries the same key each time, so that it is executed once. If a repeat is answered 404 with
        ``done_code``, an earlier attempt was executed.
        """
        key_header = (
            {"idempotency-key": idempotency_key or str(uuid4())}
            if method in _METHODS_WITH_IDEMPOTENCY_KEY
            else {}
        )
        backoff = Backoff(self._retry_timeout_seconds)
        repeated = False
        while True:
            try:
                return await self._send_once(
                    method, path, raw=raw, json=json, params=params, headers=key_header
                )
            except NotFound as error:
                if repeated and error.code == done_code:
                    return None  # the previous attempt deleted it
                raise
            except ClientError as error:
                delay = backoff.next_delay(error.retry_after) if error.retryable else None
                if delay is None:
                    raise
            await anyio.sleep(delay)
            repeated = True

    async def _send_once(
        self, method: str, path: str, *, raw: bool, headers: Mapping[str, str], **options: Any
    ) -> Any:
        headers = {**headers, **await self._credential()}
        with self._translate_errors():
            response = await self._http.request(method, path, headers=headers, **options)
        if not response.is_success:
            raise _http_error(response)
        if raw:
            return response.content
        if not response.content:
            return None
        try:
            return response.json()
        except ValueError:
            raise UnexpectedResponse(self._base_url) from None

    async def _credential(self) -> dict[str, str]:
        """Return the header with the token, asked for anew each time if it is a function."""
        token = self._token() if callable(self._token) else self._token
        if isinstance(token, Awaitable):
            token = await token
        return {} if token is None else {"authorization": f"Bearer {token}"}

    @asynccontextmanager
    async def stream(self, path: str, last_event_id: str | None) -> AsyncIterator[httpx2.Response]:
        """Open a stream of events, after the event ``last_event_id``."""
        headers = {"accept": "text/event-stream", "cache-control": "no-store"}
        if last_event_id is not None:
            headers["last-event-id"] = last_event_id
        headers |= await self._credential()
        with self._translate_errors():
            async with self._http.stream(
                "GET", path, headers=headers, timeout=self._stream_timeout
            ) as response:
                if not response.is_success:
                    await response.aread()
                    raise _http_error(response)
                if not response.headers.get("content-type", "").startswith("text/event-stream"):
                    raise UnexpectedResponse(self._base_url)
                yield response

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except httpx2.RequestError as error:
            reason = str(error) or type(error).__name__
            retryable = not isinstance(error, _NON_RETRYABLE_ERRORS)
            raise ConnectFailed(self._base_url, reason, retryable=retryable) from error


def _header_bytes(value: str) -> bytes:
    """Return a header's value as bytes. Owner names may hold any characters, also undecodable bytes."""
    return value.encode(errors="surrogateescape")


def _http_error(response: httpx2.Response) -> ChatdHTTPError:
    try:
        problem = response.json()
    except ValueError:
        problem = None
    return http_error(response.status_code, problem, retry_after=_retry_after_seconds(response))


def _retry_after_seconds(response: httpx2.Response) -> float | None:
    """Return the ``Retry-After`` of a response, given as seconds or as a date."""
    text = response.headers.get("retry-after", "")
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time())
    except ValueError:
        return None
