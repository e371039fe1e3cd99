"""Errors as ``application/problem+json`` (RFC 9457), each with a ``code`` that does not change."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from chatd.api.codes import REFUSALS
from chatd.api.scope import PROBLEM, REQUEST_ID, route_of
from chatd.domain.errors import DatabaseUnavailable, Refused

_log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
CODES = "x-codes"
"""Where a route says its codes, until the document is finished."""

_SAY_JSON = "send JSON, with the header content-type: application/json"
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
    code: str = Field(
        examples=["chat_busy"],
        description="Stable; meant for programs.",
        json_schema_extra={"enum": [*sorted(REFUSALS)]},
    )
    detail: str = Field(examples=["The chat is busy."], description="Meant for people.")
    errors: list[FieldProblem] = []


class BadRequest(HTTPException):
    """A request that no model of pydantic could refuse."""

    def __init__(
        self,
        code: str,
        detail: str,
        status: HTTPStatus,
        *,
        errors: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, headers)
        self.code = code
        self.errors = list(errors)


def invalid(*errors: FieldProblem) -> BadRequest:
    """A 422 for what does not fit in a request, each with its place."""
    named = "; ".join(f"{one.where}: {one.message}" for one in errors)
    return BadRequest("invalid_request", named, HTTPStatus.UNPROCESSABLE_ENTITY, errors=errors)


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
    return _Answer(problem, headers)


class _Answer(JSONResponse):
    """A problem, which also says in the scope of its request which one it is: it is counted there."""

    media_type = MEDIA_TYPE

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None) -> None:
        super().__init__(
            problem.model_dump(mode="json"), status_code=problem.status, headers=headers
        )
        self._code = problem.code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[PROBLEM] = self._code
        await super().__call__(scope, receive, send)


def documented(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that may answer with these codes."""
    responses: dict[int | str, dict[str, Any]] = {}
    for code in ("database_away", *codes):
        status = REFUSALS[code].status
        told = {"description": status.phrase, "model": Problem, CODES: []}
        responses.setdefault(int(status), told)[CODES].append(code)
    return responses


def install(app: FastAPI) -> None:
    """Have every error of ``app`` answered as a problem."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(DatabaseUnavailable, _away)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)  # noqa: S101 - registered for it
    return answer(REFUSALS[error.code].status, error.code, str(error))


def refusal(error: HTTPException | DatabaseUnavailable) -> JSONResponse:
    """The answer that such an error becomes, for those who stand before the application."""
    if isinstance(error, DatabaseUnavailable):
        return _database_away(error)
    status = HTTPStatus(error.status_code)
    if not isinstance(error, BadRequest):
        return answer(status, status.name.lower(), str(error.detail), headers=error.headers)
    return answer(status, error.code, str(error.detail), errors=error.errors, headers=error.headers)


def _database_away(error: DatabaseUnavailable) -> JSONResponse:
    _log.warning("http.database_away", error=str(error))
    return answer(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "database_away",
        "The database cannot be reached just now; try again.",
        headers={"retry-after": "1"},
    )


async def _away(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DatabaseUnavailable)  # noqa: S101 - registered for it
    return refusal(error)


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
    return refusal(invalid(*errors))


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    answered = refusal(error)
    if answered.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        answered.headers.update(_allowed(request))
    return answered


def _allowed(request: Request) -> Mapping[str, str]:
    """All methods of this path; the router's own answer knows those of one route only."""
    routes: list[Route] = request.app.state.routes
    here = [r for r in routes if r.include_in_schema and r.matches(request.scope)[0] != Match.NONE]
    here = [r for r in here if r.path == request.url.path] or here  # "stream" is not a chat's id
    methods = {method for route in here for method in route.methods or ()}
    return {"Allow": ", ".join(sorted(methods))} if methods else {}


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    _log.error(
        "http.unexpected", method=request.method, route=route_of(request.scope), exc_info=error
    )
    logged = (
        f"Something went wrong here; it was logged with the request id {request.scope[REQUEST_ID]}."
    )
    return answer(_INTERNAL, "internal", logged)
