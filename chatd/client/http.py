"""Requests that may be repeated: what was lost on the way is asked again, and done once."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from email.utils import parsedate_to_datetime
from time import time
from typing import Any
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
"""What no repetition cures: the address or a header makes no sense."""


class Http:
    """The connections to one chatd, or to several behind one address."""

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str],
        timeout_seconds: float,
        read_timeout_seconds: float,
        retry_timeout_seconds: float | None,
    ) -> None:
        self._base_url = base_url
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
    ) -> Any:
        """The JSON of the answer; None when it has no body.

        Repeated while the connection breaks or the server says "later". A POST or PATCH carries the
        same key each time, so it is done once however often it arrives.
        """
        keyed = (
            {"idempotency-key": idempotency_key or str(uuid4())}
            if method in _METHODS_WITH_IDEMPOTENCY_KEY
            else {}
        )
        backoff = Backoff(self._retry_timeout_seconds)
        repeated = False
        while True:
            try:
                return await self._send_once(method, path, json=json, params=params, headers=keyed)
            except NotFound:
                if repeated and method == "DELETE":
                    return None  # the try before did it
                raise
            except ClientError as error:
                delay = backoff.next_delay(error.retry_after) if error.retryable else None
                if delay is None:
                    raise
            await anyio.sleep(delay)
            repeated = True

    async def _send_once(self, method: str, path: str, **more: Any) -> Any:
        with self._translate_errors():
            answer = await self._http.request(method, path, **more)
        if not answer.is_success:
            raise _http_error(answer)
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError:
            raise UnexpectedResponse(self._base_url) from None

    @asynccontextmanager
    async def stream(self, path: str, last_event_id: str | None) -> AsyncIterator[httpx2.Response]:
        """An open stream of events."""
        headers = {"accept": "text/event-stream", "cache-control": "no-store"}
        if last_event_id is not None:
            headers["last-event-id"] = last_event_id
        with self._translate_errors():
            async with self._http.stream(
                "GET", path, headers=headers, timeout=self._stream_timeout
            ) as answer:
                if not answer.is_success:
                    await answer.aread()
                    raise _http_error(answer)
                if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                    raise UnexpectedResponse(self._base_url)
                yield answer

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except httpx2.RequestError as error:
            why = str(error) or type(error).__name__
            passing = not isinstance(error, _NON_RETRYABLE_ERRORS)
            raise ConnectFailed(self._base_url, why, retryable=passing) from error


def _header_bytes(value: str) -> bytes:
    """What a header says; a name may have any characters, also bytes that are no text."""
    return value.encode(errors="surrogateescape")


def _http_error(response: httpx2.Response) -> ChatdHTTPError:
    try:
        problem = response.json()
    except ValueError:
        problem = None
    return http_error(response.status_code, problem, retry_after=_retry_after_seconds(response))


def _retry_after_seconds(response: httpx2.Response) -> float | None:
    """``Retry-After``: seconds, or a date."""
    text = response.headers.get("retry-after", "")
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time())
    except ValueError:
        return None
