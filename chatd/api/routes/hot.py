"""The two routes of a turn without FastAPI: sending a message, and the stream of a chat.

An ordinary request needs none of what FastAPI does to find, check and answer it, which costs more than all
else that a request does here. It is checked by the same validator and served by the same function as
FastAPI would. Whatever is out of the ordinary is left to FastAPI, so that it words every refusal of a
request. The benchmark ``turns`` watches it.
"""

import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final, TypeAlias
from uuid import UUID

from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Scope

from chatd.api.auth.permissions import authorize
from chatd.api.context import ApiContext
from chatd.api.errors.problems import HttpProblem
from chatd.api.request.idempotency import read_idempotency_key
from chatd.api.routes import chat_stream, messages
from chatd.api.schema.resources import SendMessage, SendMessageResult
from chatd.api.schema.types import MAX_CURSOR_LENGTH
from chatd.api.scope import IDENTITY, single_header

_PATH: Final = re.compile(
    r"/api/v1/chats/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})/(messages|stream)"
)
_AFTER: Final = re.compile(rb"after=([\w.~-]{1,%d})" % MAX_CURSOR_LENGTH)
"""A query that needs no decoding."""
_MAX_BODY_BYTES: Final = 64 * 1024
"""A body that FastAPI would refuse is read twice, and a large one takes the event loop for long."""

Handler: TypeAlias = Callable[[UUID, Scope, Message | None], Awaitable[Response | None]]


class HotRoutes:
    """The routes of ``messages`` and ``chat_stream`` for requests without anything unusual."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._handlers: dict[tuple[str, str], Handler] = {
            ("POST", "messages"): self._send_message,
            ("GET", "stream"): self._stream_chat,
        }

    async def respond(self, scope: Scope, body: Message | None) -> Response | None:
        """Return the response to a request. None: FastAPI is to answer it, and nothing was done."""
        matched = _PATH.fullmatch(scope["path"])
        if (
            matched is None
            or (handler := self._handlers.get((scope["method"], matched[2]))) is None
        ):
            return None
        return await handler(UUID(matched[1]), scope, body)

    async def _send_message(
        self, chat_id: UUID, scope: Scope, body: Message | None
    ) -> Response | None:
        content = None if body is None else body.get("body")
        if (
            not content
            or len(content) > _MAX_BODY_BYTES
            or scope["query_string"]
            or single_header(scope, b"content-type") != b"application/json"
        ):
            return None
        try:
            message = SendMessage.__pydantic_validator__.validate_json(content)
            caller = authorize(scope[IDENTITY], _SEND.name)
            key = read_idempotency_key(scope, content)
        except (ValidationError, HttpProblem):
            return None
        _select_route(scope, _SEND, chat_id)
        result = await messages.send_message(chat_id, message, caller, self._context, key)
        return Response(
            SendMessageResult.__pydantic_serializer__.to_json(result),
            HTTPStatus.ACCEPTED.value,
            media_type="application/json",
        )

    async def _stream_chat(
        self, chat_id: UUID, scope: Scope, _body: Message | None
    ) -> Response | None:
        after = None
        if scope["query_string"]:
            matched = _AFTER.fullmatch(scope["query_string"])
            if matched is None:
                return None
            after = matched[1].decode()
        try:
            caller = authorize(scope[IDENTITY], _STREAM.name)
        except HttpProblem:
            return None
        _select_route(scope, _STREAM, chat_id)
        request = Request(scope)
        return await chat_stream.stream_chat(chat_id, request, caller, self._context, after)


def _route(router: APIRouter, name: str) -> APIRoute:
    """Return the route of an operation."""
    return next(
        route for route in router.routes if isinstance(route, APIRoute) and route.name == name
    )


_SEND: Final = _route(messages.router, "send_message")
_STREAM: Final = _route(chat_stream.router, "stream_chat")


def _select_route(scope: Scope, route: APIRoute, chat_id: UUID) -> None:
    """Note the route as FastAPI would, for metrics and the log."""
    scope["route"] = route
    scope["path_params"] = {"chat_id": str(chat_id)}
