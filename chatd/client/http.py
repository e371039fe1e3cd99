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
    NotChatd,
    NotFound,
    Unreachable,
    refusal,
)

_KEYED = frozenset({"POST", "PATCH"})
_HOPELESS = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)
"""What no repetition cures: the address or a header makes no sense."""


class Http:
    """The connections to one chatd, or to several behind one address."""

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str],
        timeout_seconds: float,
        silence_seconds: float,
        patience_seconds: float | None,
    ) -> None:
        self._url = base_url
        self._patience = patience_seconds
        self._quiet = httpx2.Timeout(timeout_seconds, read=silence_seconds, pool=None)
        self._connections = httpx2.AsyncClient(
            base_url=f"{base_url.rstrip('/')}/api/v1",
            headers={name.encode(): _in_utf_8(value) for name, value in headers.items()},
            timeout=timeout_seconds,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20),
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._connections.aclose()

    async def ask(
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
        keyed = {"idempotency-key": idempotency_key or str(uuid4())} if method in _KEYED else {}
        backoff = Backoff(self._patience)
        repeated = False
        while True:
            try:
                return await self._once(method, path, json=json, params=params, headers=keyed)
            except NotFound:
                if repeated and method == "DELETE":
                    return None  # the try before did it
                raise
            except ClientError as error:
                delay = backoff.wait_seconds(error.retry_after) if error.passing else None
                if delay is None:
                    raise
            await anyio.sleep(delay)
            repeated = True

    async def _once(self, method: str, path: str, **more: Any) -> Any:
        with self._translated():
            answer = await self._connections.request(method, path, **more)
        if not answer.is_success:
            raise _refusal(answer)
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError:
            raise NotChatd(self._url) from None

    @asynccontextmanager
    async def stream(self, path: str, last_event_id: str | None) -> AsyncIterator[httpx2.Response]:
        """An open stream of events."""
        headers = {"accept": "text/event-stream", "cache-control": "no-store"}
        if last_event_id is not None:
            headers["last-event-id"] = last_event_id
        with self._translated():
            async with self._connections.stream(
                "GET", path, headers=headers, timeout=self._quiet
            ) as answer:
                if not answer.is_success:
                    await answer.aread()
                    raise _refusal(answer)
                if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                    raise NotChatd(self._url)
                yield answer

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except httpx2.RequestError as error:
            why = str(error) or type(error).__name__
            passing = not isinstance(error, _HOPELESS)
            raise Unreachable(self._url, why, passing=passing) from error


def _in_utf_8(value: str) -> bytes:
    """What a header says; a name may have any characters, also bytes that are no text."""
    return value.encode(errors="surrogateescape")


def _refusal(answer: httpx2.Response) -> ChatdHTTPError:
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    return refusal(answer.status_code, problem, retry_after=_seconds(answer))


def _seconds(answer: httpx2.Response) -> float | None:
    """``Retry-After``: seconds, or a date."""
    text = answer.headers.get("retry-after", "")
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time())
    except ValueError:
        return None
