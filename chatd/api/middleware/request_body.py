"""Bodies of requests: read before anything is done with them, and refused over the limit."""

from typing import Final

from starlette.types import Message, Receive, Scope

from chatd.api.errors.problems import FieldProblem, HttpProblem, invalid_request
from chatd.api.middleware.json_bounds import json_refusal
from chatd.api.scope import BODY_SIZE, header_values, single_header

_METHODS_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


def has_body(scope: Scope) -> bool:
    """Return whether the headers announce a body that a route may read."""
    return scope["method"] in _METHODS_WITH_BODY and (
        single_header(scope, b"content-length") != b"0"
        if header_values(scope, b"content-length")
        else bool(header_values(scope, b"transfer-encoding"))
    )


async def read_body(scope: Scope, receive: Receive, *, limit: int) -> Message | None:
    """Return one message with the whole body, or that the client has disconnected. None: there is no body.

    How long it takes is up to the client. Raises ``HttpProblem`` (413) for a body of more than ``limit``
    bytes (0: unlimited), announced or not, and (422) for one that holds too many values, or too deep ones.
    """
    content_length = single_header(scope, b"content-length") or b"0"
    if limit and content_length.isdigit() and int(content_length) > limit:
        # Keep the connection open: closing it while the body is still sent would lose the response.
        raise _too_large(limit)
    if not has_body(scope):
        return None
    message = await _read(receive, limit)
    scope[BODY_SIZE] = len(message.get("body", b""))
    return message


def replay_body(message: Message, receive: Receive) -> Receive:
    """Return a ``receive`` that returns ``message`` first, and keeps it no longer."""
    messages = [message]

    async def receive_message() -> Message:
        return messages.pop() if messages else await receive()

    return receive_message


async def _read(receive: Receive, limit: int) -> Message:
    chunks: list[bytes] = []
    received_bytes, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return message
        chunk, more = message.get("body", b""), message.get("more_body", False)
        received_bytes += len(chunk)
        if limit and received_bytes > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    body = b"".join(chunks)
    if (refusal := json_refusal(body)) is not None:
        raise invalid_request(FieldProblem(where="body", message=refusal))
    return {"type": "http.request", "body": body, "more_body": False}


def _too_large(limit: int) -> HttpProblem:
    return HttpProblem(
        "body_too_large", f"The body is larger than {limit} bytes (http.max_body_bytes)."
    )
