"""Errors as ``application/problem+json`` (RFC 9457), each with a ``code`` that does not change."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from chatd.api.requests import REQUEST_ID, route_of
from chatd.domain.errors import (
    ChatArchived,
    ChatBusy,
    ChatNotFound,
    DatabaseAway,
    FamilyBusy,
    KeyReused,
    MessageNotFound,
    ModelNotFound,
    NoActionRequired,
    NotFailed,
    NotUsersMessage,
    QueuedMessageNotFound,
    QueueFull,
    Refused,
    ToolCallUnknown,
    ToolResultsMissing,
)

_log = structlog.get_logger()

_STATUS: Mapping[type[Refused], HTTPStatus] = {
    ChatNotFound: HTTPStatus.NOT_FOUND,
    MessageNotFound: HTTPStatus.NOT_FOUND,
    QueuedMessageNotFound: HTTPStatus.NOT_FOUND,
    NotUsersMessage: HTTPStatus.UNPROCESSABLE_ENTITY,
    KeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotFailed: HTTPStatus.CONFLICT,
    ChatBusy: HTTPStatus.CONFLICT,
    ChatArchived: HTTPStatus.CONFLICT,
    FamilyBusy: HTTPStatus.CONFLICT,
    QueueFull: HTTPStatus.TOO_MANY_REQUESTS,
    ModelNotFound: HTTPStatus.UNPROCESSABLE_ENTITY,
    NoActionRequired: HTTPStatus.CONFLICT,
    ToolCallUnknown: HTTPStatus.UNPROCESSABLE_ENTITY,
    ToolResultsMissing: HTTPStatus.UNPROCESSABLE_ENTITY,
}

_MEDIA_TYPE = "application/problem+json"
_SAY_JSON = "send JSON, with the header content-type: application/json"
_OF_BODIES = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
_INTERNAL = HTTPStatus.INTERNAL_SERVER_ERROR


class FieldProblem(BaseModel):
    """One thing that is wrong with a request."""

    where: str = Field(examples=["body.content"])
    message: str


class Problem(BaseModel):
    """Why a request was refused."""

    type: str = "about:blank"
    title: str = Field(examples=["Conflict"])
    status: int = Field(examples=[409])
    code: str = Field(examples=["chat_busy"], description="Stable; meant for programs.")
    detail: str = Field(examples=["The chat is busy."], description="Meant for people.")
    errors: list[FieldProblem] = []


class BadRequest(HTTPException):
    """A request that no model of pydantic could refuse."""

    def __init__(self, code: str, detail: str, status: HTTPStatus) -> None:
        super().__init__(status, detail)
        self.code = code


def answer(
    status: HTTPStatus,
    code: str,
    detail: str,
    *,
    errors: list[FieldProblem] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    problem = Problem(
        title=status.phrase, status=status, code=code, detail=detail, errors=errors or []
    )
    return JSONResponse(
        problem.model_dump(mode="json"),
        status_code=status,
        headers=dict(headers or {}),
        media_type=_MEDIA_TYPE,
    )


def documented(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that may answer with these problems."""
    return {
        int(status): {"description": status.phrase, "model": Problem}
        for status in (*statuses, HTTPStatus.SERVICE_UNAVAILABLE)
    }


def describe(document: dict[str, Any]) -> None:
    """Have the OpenAPI ``document`` say what ``install`` does: whatever is refused is a problem."""
    schemas = document["components"]["schemas"]
    for foreign in ("HTTPValidationError", "ValidationError"):
        schemas.pop(foreign, None)
    problem = {_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for operation in (one for path in document["paths"].values() for one in path.values()):
        answers = operation["responses"]
        for status in (*(_OF_BODIES if "requestBody" in operation else ()), _INTERNAL):
            answers.setdefault(str(int(status)), {"description": status.phrase})
        for status, refusal in answers.items():
            if int(status) >= HTTPStatus.BAD_REQUEST:
                refusal["content"] = problem


def install(app: FastAPI) -> None:
    """Have every error of ``app`` answered as a problem."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(DatabaseAway, _away)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)  # noqa: S101 - registered for it
    status = _STATUS.get(type(error), HTTPStatus.CONFLICT)
    return answer(status, error.code, str(error))


async def _away(_: Request, error: Exception) -> JSONResponse:
    _log.warning("http.database_away", error=str(error))
    return answer(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "database_away",
        "The database cannot be reached just now; try again.",
        headers={"retry-after": "1"},
    )


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    unread = isinstance(error.body, bytes)  # not said to be JSON, so not read as JSON
    errors = [
        FieldProblem(
            where=".".join(map(str, one["loc"])),
            message=_SAY_JSON if unread and one["loc"] == ("body",) else one["msg"],
        )
        for one in error.errors()
    ]
    named = "; ".join(f"{one.where}: {one.message}" for one in errors)
    return answer(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_request", named, errors=errors)


async def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    status = HTTPStatus(error.status_code)
    code = error.code if isinstance(error, BadRequest) else status.name.lower()
    return answer(status, code, str(error.detail), headers=error.headers)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    _log.error(
        "http.unexpected", method=request.method, route=route_of(request.scope), exc_info=error
    )
    logged = f"Something went wrong here; it was logged, with the request id {request.scope[REQUEST_ID]}."
    return answer(_INTERNAL, "internal", logged)
