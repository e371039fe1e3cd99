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

from chatd.api.errors.codes import PROBLEMS
from chatd.api.scope import PROBLEM_CODE, REQUEST_ID, route_template
from chatd.domain.errors import DatabaseUnavailable, Refused

_log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
CODES_EXTENSION = "x-codes"
"""Where a route says its codes, until the document is finished."""

_JSON_EXPECTED = "send JSON, with the header content-type: application/json"
_INTERNAL = HTTPStatus.INTERNAL_SERVER_ERROR


class FieldProblem(BaseModel):
    """Problem with one field of a request."""

    where: str = Field(examples=["body.content"])
    message: str


class Problem(BaseModel):
    """Reason why a request was rejected."""

    type: str = "about:blank"
    title: str = Field(examples=["Conflict"])
    status: int = Field(examples=[409])
    code: str = Field(
        examples=["chat_busy"],
        description="Stable code for programs.",
        json_schema_extra={"enum": [*sorted(PROBLEMS)]},
    )
    detail: str = Field(examples=["The chat is busy."], description="Sentence for people.")
    errors: list[FieldProblem] = []


class HttpProblem(HTTPException):
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


def invalid_request(*errors: FieldProblem) -> HttpProblem:
    """A 422 for what does not fit in a request, each with its place."""
    named = "; ".join(f"{one.where}: {one.message}" for one in errors)
    return HttpProblem("invalid_request", named, HTTPStatus.UNPROCESSABLE_ENTITY, errors=errors)


def problem_response(
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
    return _ProblemResponse(problem, headers)


class _ProblemResponse(JSONResponse):
    """A problem, which also says in the scope of its request which one it is: it is counted there."""

    media_type = MEDIA_TYPE

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None) -> None:
        super().__init__(
            problem.model_dump(mode="json"), status_code=problem.status, headers=headers
        )
        self._code = problem.code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[PROBLEM_CODE] = self._code
        await super().__call__(scope, receive, send)


def problem_responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that may answer with these codes."""
    responses: dict[int | str, dict[str, Any]] = {}
    for code in ("database_unavailable", *codes):
        status = PROBLEMS[code].status
        told = {"description": status.phrase, "model": Problem, CODES_EXTENSION: []}
        responses.setdefault(int(status), told)[CODES_EXTENSION].append(code)
    return responses


def install(app: FastAPI) -> None:
    """Have every error of ``app`` answered as a problem."""
    app.add_exception_handler(Refused, _on_refused)
    app.add_exception_handler(DatabaseUnavailable, _on_database_unavailable)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_unexpected_error)


async def _on_refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)  # noqa: S101 - registered for it
    return problem_response(PROBLEMS[error.code].status, error.code, str(error))


def to_response(error: HTTPException | DatabaseUnavailable) -> JSONResponse:
    """The answer that such an error becomes, for those who stand before the application."""
    if isinstance(error, DatabaseUnavailable):
        return _database_unavailable_response(error)
    status = HTTPStatus(error.status_code)
    if not isinstance(error, HttpProblem):
        return problem_response(
            status, status.name.lower(), str(error.detail), headers=error.headers
        )
    return problem_response(
        status, error.code, str(error.detail), errors=error.errors, headers=error.headers
    )


def _database_unavailable_response(error: DatabaseUnavailable) -> JSONResponse:
    _log.warning("http.database_unavailable", error=str(error))
    return problem_response(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "database_unavailable",
        "The database cannot be reached just now; try again.",
        headers={"retry-after": "1"},
    )


async def _on_database_unavailable(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DatabaseUnavailable)  # noqa: S101 - registered for it
    return to_response(error)


async def _on_validation_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    unread = isinstance(error.body, bytes)  # not said to be JSON, so not read as JSON
    errors = [
        FieldProblem(
            where=".".join(map(str, one["loc"])),
            message=_JSON_EXPECTED if unread and one["loc"] == ("body",) else one["msg"],
        )
        for one in error.errors()
    ]
    return to_response(invalid_request(*errors))


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    answered = to_response(error)
    if answered.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        answered.headers.update(_allow_header(request))
    return answered


def _allow_header(request: Request) -> Mapping[str, str]:
    """All methods of this path; the router's own answer knows those of one route only."""
    routes: list[Route] = request.app.state.routes
    here = [r for r in routes if r.include_in_schema and r.matches(request.scope)[0] != Match.NONE]
    here = [r for r in here if r.path == request.url.path] or here  # "stream" is not a chat's id
    methods = {method for route in here for method in route.methods or ()}
    return {"Allow": ", ".join(sorted(methods))} if methods else {}


async def _on_unexpected_error(request: Request, error: Exception) -> JSONResponse:
    _log.error(
        "http.unexpected",
        method=request.method,
        route=route_template(request.scope),
        exc_info=error,
    )
    logged = (
        f"Something went wrong here; it was logged with the request id {request.scope[REQUEST_ID]}."
    )
    return problem_response(_INTERNAL, "internal", logged)
