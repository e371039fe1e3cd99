"""HTTP client for the SDK's transport: no redirect, no proxy of the environment, bounded responses.

Imports the SDK's HTTP library: see ``connection``.
"""

from collections.abc import AsyncIterator
from typing import Final

import httpx2
from typing_extensions import override

from chatd.tools.mcp.config import MAX_MESSAGE_BYTES, HttpEndpoint
from chatd.tools.mcp.intake import IntakeRefused
from chatd.tools.mcp.link import Link
from chatd.tools.mcp.oauth import client_credentials_auth

_CONNECT_SECONDS: Final = 10.0
"""Time for a connection. The actor's own limits for connecting and for calls come on top."""
_ERROR_STATUS: Final = 400
_UNAUTHORIZED: Final = 401
_STREAM_TYPE: Final = "text/event-stream"


def bounded_client(endpoint: HttpEndpoint, link: Link) -> httpx2.AsyncClient:
    """Return a client that counts what arrives in ``link``, and gives up what is too large."""
    return httpx2.AsyncClient(
        headers={**endpoint.headers, "Accept-Encoding": "identity"},
        auth=client_credentials_auth(endpoint),
        timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),
        transport=_BoundedTransport(endpoint, link),
        follow_redirects=False,
        trust_env=False,
    )


class _BoundedTransport(httpx2.AsyncBaseTransport):
    """Transport whose responses are counted, and are no larger than a message may be.

    A server says where its authorization is described. It does not make chatd read from other hosts.
    """

    def __init__(self, endpoint: HttpEndpoint, link: Link) -> None:
        self._inner = httpx2.AsyncHTTPTransport(trust_env=False)
        self._link = link
        self._url = httpx2.URL(endpoint.url)
        self._authorizes = endpoint.credentials is not None
        issuer = endpoint.credentials and httpx2.URL(endpoint.credentials.issuer)
        self._origins = [_origin(url) for url in (self._url, issuer) if url]

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request. A compressed response is refused, since a few bytes may become many."""
        if request.method == "GET" and _origin(request.url) not in self._origins:
            self._link.reason = "it describes its authorization at an address of others"
            raise httpx2.UnsupportedProtocol(self._link.reason, request=request)
        response = await self._inner.handle_async_request(request)
        is_challenge = response.status_code == _UNAUTHORIZED and self._asks_for_token(request)
        if response.status_code >= _ERROR_STATUS and request.method == "POST" and not is_challenge:
            it = "it" if request.url == self._url else "its authorization server"
            self._link.reason = f"{it} answered with status {response.status_code}"
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise httpx2.DecodingError("a compressed response", request=request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 - as of any async transport
        is_stream = response.headers.get("content-type", "").startswith(_STREAM_TYPE)
        # The SDK bounds each event of a stream. As a whole a stream has no end.
        max_bytes = None if is_stream else MAX_MESSAGE_BYTES
        response.stream = _BoundedStream(response.stream, self._link, request, max_bytes)
        return response

    def _asks_for_token(self, request: httpx2.Request) -> bool:
        return self._authorizes and "authorization" not in request.headers

    @override
    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


class _BoundedStream(httpx2.AsyncByteStream):
    """Body of a response, counted and slowed down by the intake of the connection."""

    def __init__(
        self,
        inner: httpx2.AsyncByteStream,
        link: Link,
        request: httpx2.Request,
        max_bytes: int | None,
    ) -> None:
        self._inner = inner
        self._link = link
        self._request = request
        self._max_bytes = max_bytes

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the body. Raise ``httpx2.ReadError`` when it is too large, or never ends."""
        size = 0
        intake = self._link.intake
        async for chunk in self._inner:
            size += len(chunk)
            if self._max_bytes is not None and size > self._max_bytes:
                self._refuse(f"it sent a message of more than {self._max_bytes // 2**20} MiB")
            await intake.add_bytes(len(chunk))
            if self._max_bytes is None:
                try:
                    for _ in range(chunk.count(b"\n\n") + chunk.count(b"\r\n\r\n")):
                        await intake.add_message()
                except IntakeRefused as error:
                    self._refuse(str(error))
            yield chunk

    @override
    async def aclose(self) -> None:
        """Close the response."""
        await self._inner.aclose()

    def _refuse(self, reason: str) -> None:
        self._link.end(reason)
        raise httpx2.ReadError(reason, request=self._request)


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
