"""Headers of all responses of a kind."""

from typing import Final

from starlette.types import Message, Scope

from chatd.api.scope import REQUEST_ID

_NO_STORE: Final = (b"cache-control", b"no-store")
_CLOSE: Final = (b"connection", b"close")
_CACHEABLE_PATHS: Final = ("/docs", "/openapi.json")
_REQUEST_ID: Final = b"x-request-id"


def add_headers(scope: Scope, message: Message, *, closes_connection: bool) -> None:
    """Add the request's id to the head of a response, and keep caches from storing it.

    The documentation is the same for everybody, so it may be stored.
    """
    headers = message["headers"] = [*message.get("headers", ())]
    if not scope["path"].startswith(_CACHEABLE_PATHS) and not any(
        name.lower() == b"cache-control" for name, _ in headers
    ):
        headers.append(_NO_STORE)
    headers.append((_REQUEST_ID, scope[REQUEST_ID].encode()))
    if closes_connection:
        headers.append(_CLOSE)
