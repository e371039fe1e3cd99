"""A client of the API in this process: requests pass its whole pipeline, and no socket."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from starlette.types import ASGIApp, Message, Scope

from chatd.api.scope import REQUEST_ID

_MAX_RESPONSE_BYTES: Final = 32 * 1024 * 1024
"""Size of a response. Pages of the API end after about 1 MiB, but one message may be larger."""
_PASSED_ON: Final = frozenset({b"host", b"traceparent"})
_FIRST_ERROR: Final = 400

Query = Sequence[tuple[str, str]]


class ApiError(Exception):
    """A response of the API that is a problem: its status, its stable code, and words for people."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.code: str = problem.get("code", "unknown")
        self.detail: str = problem.get("detail", "")
        super().__init__(f"{status} {self.code}")


class ApiClient:
    """Calls of the API for one request of a page, with the credential of its session."""

    def __init__(self, api: ASGIApp, scope: Scope, credential: str | None) -> None:
        self._api = api
        self._outer = scope
        self._headers = [each for each in scope["headers"] if each[0] in _PASSED_ON]
        self._headers.append((b"accept", b"application/json"))
        self._headers.append((b"x-request-id", scope[REQUEST_ID].encode()))
        if credential:
            self._headers.append((b"authorization", f"Bearer {credential}".encode()))

    def with_credential(self, credential: str) -> "ApiClient":
        """Return a client for the same request, with another credential."""
        return ApiClient(self._api, self._outer, credential)

    async def get(self, *segments: str, query: Query = ()) -> Any:
        """Return the JSON of a path of ``/api/v1``. Raises ``ApiError``."""
        return await self.call("GET", *segments, query=query)

    async def call(
        self, method: str, *segments: str, query: Query = (), body: object = None
    ) -> Any:
        """Return the JSON of a response, None if it has none. Raises ``ApiError``."""
        path = "/api/v1/" + "/".join(quote(segment, safe="") for segment in segments)
        return await self._request(method, path, query=query, body=body)

    async def process_status(self) -> Any:
        """Return the status of this process. Raises ``ApiError``."""
        return await self._request("GET", "/statusz")

    async def _request(
        self, method: str, path: str, *, query: Query = (), body: object = None
    ) -> Any:
        data = b"" if body is None else json.dumps(body).encode()
        status, content = await self._exchange(self._scope(method, path, query, data), data)
        answer = json.loads(content) if content else None
        if status >= _FIRST_ERROR:
            raise ApiError(status, answer if isinstance(answer, dict) else {})
        return answer

    def _scope(self, method: str, path: str, query: Query, data: bytes) -> Scope:
        headers = [*self._headers]
        if data:
            headers += [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(data)).encode()),
            ]
        return {
            "type": "http",
            "asgi": self._outer["asgi"],
            "http_version": "1.1",
            "scheme": self._outer["scheme"],
            "server": self._outer.get("server"),
            "client": self._outer.get("client"),
            "root_path": "",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": urlencode(query).encode(),
            "headers": headers,
        }

    async def _exchange(self, scope: Scope, data: bytes) -> tuple[int, bytes]:
        status, chunks, size = 0, [], 0
        messages: list[Message] = [{"type": "http.request", "body": data, "more_body": False}]

        async def receive() -> Message:
            return messages.pop() if messages else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                return
            size += len(message.get("body", b""))
            if size > _MAX_RESPONSE_BYTES:
                raise ApiError(500, {"code": "internal", "detail": "This is too large to show."})
            chunks.append(message.get("body", b""))

        await self._api(scope, receive, send)
        return status, b"".join(chunks)
