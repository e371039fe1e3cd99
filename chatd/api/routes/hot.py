"""The routes of a turn without FastAPI: a new chat, sending a message, and the stream of a chat.

An ordinary request needs none of what FastAPI does to find, check and answer it, which costs more than all
else that a request does here. It is checked by the same validator and served by the same function as
FastAPI would. Whatever is out of the ordinary is left to FastAPI, so that it words every refusal of a
request. The benchmark ``turns`` watches it.
"""

import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final, TypeAlias, TypeVar
from uuid import UUID

from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Scope

from chatd.api.auth.permissions import Access, authorize
from chatd.api.context import ApiContext
from chatd.api.errors.problems import HttpProblem
from chatd.api.request.idempotency import read_idempotency_key
from chatd.api.routes import chat_stream, chats, messages
from chatd.api.schema.requests import CreateChat, SendMessage
from chatd.api.schema.types import MAX_CURSOR_LENGTH
from chatd.api.scope import IDENTITY, single_header
from chatd.store.idempotency import IdempotencyKey
from chatd.store.uuids import parse_uuid

_CHATS: Final = "/api/v1/chats"
_PATH: Final = re.compile(
    r"/api/v1/chats/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})/(messages|stream)"
)
_AFTER: Final = re.compile(rb"after=([\w.~-]{1,%d})" % MAX_CURSOR_LENGTH)
"""A query that needs no decoding."""
_MAX_BODY_BYTES: Final = 64 * 1024
"""A body that FastAPI would refuse is read twice, and a large one takes the event loop for long."""

Handler: TypeAlias = Callable[[UUID, Scope, Message | None], Awaitable[Response | None]]
BodyT = TypeVar("BodyT", bound=BaseModel)


class HotRoutes:
    """Routes of ``chats``, ``messages`` and ``chat_stream`` for requests without anything unusual."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._handlers: dict[tuple[str, str], Handler] = {
            ("POST", "messages"): self._send_message,
            ("GET", "stream"): self._stream_chat,
        }

    async def respond(self, scope: Scope, body: Message | None) -> Response | None:
        """Return the response to a request. None: FastAPI is to answer it, and nothing was done."""
        method, path = scope["method"], scope["path"]
        if path == _CHATS:
            return await self._create_chat(scope, body) if method == "POST" else None
        matched = _PATH.fullmatch(path)
        if matched is None or (handler := self._handlers.get((method, matched[2]))) is None:
            return None
        return await handler(parse_uuid(matched[1]), scope, body)

    async def _create_chat(self, scope: Scope, body: Message | None) -> Response | None:
        request = _read(CreateChat, _CREATE, scope, body)
        if request is None:
            return None
        scope["route"], scope["path_params"] = _CREATE, {}
        chat_request, caller, key = request
        chat = await chats.create(chat_request, caller, self._context, key)
        response = _json_response(chat, HTTPStatus.CREATED)
        response.headers["location"] = chats.location(chat.id)
        return response

    async def _send_message(
        self, chat_id: UUID, scope: Scope, body: Message | None
    ) -> Response | None:
        request = _read(SendMessage, _SEND, scope, body)
        if request is None:
            return None
        _select_route(scope, _SEND, chat_id)
        message, caller, key = request
        result = await messages.send_message(chat_id, message, caller, self._context, key)
        return _json_response(result, HTTPStatus.ACCEPTED)

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


def _read(
    body_type: type[BodyT], route: APIRoute, scope: Scope, body: Message | None
) -> tuple[BodyT, Access, IdempotencyKey | None] | None:
    """Return the body, the caller and the key of a request. None: there is something unusual in it."""
    content = None if body is None else body.get("body")
    if (
        not content
        or len(content) > _MAX_BODY_BYTES
        or scope["query_string"]
        or single_header(scope, b"content-type") != b"application/json"
    ):
        return None
    try:
        value = body_type.__pydantic_validator__.validate_json(content)
        caller = authorize(scope[IDENTITY], route.name)
        return value, caller, read_idempotency_key(scope, content)
    except (ValidationError, HttpProblem):
        return None


def _json_response(value: BaseModel, status: HTTPStatus) -> Response:
    content = value.__pydantic_serializer__.to_json(value)
    return Response(content, status.value, media_type="application/json")


def _route(router: APIRouter, name: str) -> APIRoute:
    """Return the route of an operation."""
    return next(
        route for route in router.routes if isinstance(route, APIRoute) and route.name == name
    )


_CREATE: Final = _route(chats.router, "create_chat")
_SEND: Final = _route(messages.router, "send_message")
_STREAM: Final = _route(chat_stream.router, "stream_chat")


def _select_route(scope: Scope, route: APIRoute, chat_id: UUID) -> None:
    """Note the route as FastAPI would, for metrics and the log."""
    scope["route"] = route
    scope["path_params"] = {"chat_id": str(chat_id)}
