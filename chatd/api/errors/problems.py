"""Problem responses: ``application/problem+json`` (RFC 9457), each with a stable ``code``."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from chatd.api.adapter import Adapter, Refusal
from chatd.api.errors.codes import PROBLEMS
from chatd.api.scope import ADAPTER, PROBLEM_CODE, REQUEST_ID, route_template
from chatd.domain.answer import Decision
from chatd.domain.errors import ChatUnreadable, DatabaseUnavailable, Refused

_log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
CODES_EXTENSION = "x-codes"
"""Key under which a route's ``responses`` keep its codes until the document is complete."""

MAX_NAMED_MISTAKES = 20
"""Most mistakes that a problem names. It says how many more there are."""
_MAX_WHERE_LENGTH, _MAX_MESSAGE_LENGTH = 200, 300
"""Characters of a mistake's place and of its description, since both may repeat the caller's own words."""

_JSON_EXPECTED = "send JSON, with the header content-type: application/json"


class FieldProblem(BaseModel):
    """A mistake in a request, and its place."""

    where: str = Field(examples=["body.title"])
    message: str = Field(examples=["Input should be a valid string"])


class CallDecision(BaseModel):
    """The decision about a tool call that stands."""

    tool_call_id: str = Field(examples=["call_1"])
    decision: Decision | None = Field(
        description="Null if the chat went on without an answer.", examples=["deny"]
    )
    reason: str | None = Field(examples=[None])


class Problem(BaseModel):
    """The reason why a request failed."""

    type: str = Field(default="about:blank", examples=["about:blank"])
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    code: str = Field(
        description="Stable, for programs.",
        examples=["invalid_request"],
        json_schema_extra={"enum": [*sorted(PROBLEMS)]},
    )
    detail: str = Field(
        description="For people.", examples=["body.title: Input should be a valid string"]
    )
    errors: list[FieldProblem] = Field(
        default=[],
        max_length=MAX_NAMED_MISTAKES,
        description="The mistakes in an invalid request, or the first of them.",
        examples=[[{"where": "body.title", "message": "Input should be a valid string"}]],
    )
    decisions: list[CallDecision] | None = Field(
        default=None,
        description="The decisions that stand, of the code `already_answered`. Else it is left out.",
    )


class HttpProblem(HTTPException):
    """A failed request, raised by routes and by the steps before them."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(PROBLEMS[code].status, detail, headers)
        self.code = code
        self.errors = list(errors)


def invalid_request(*errors: FieldProblem, more: int = 0) -> HttpProblem:
    """Return a 422 that lists the mistakes in a request. There are ``more``, which nobody needs to see."""
    named = [_shortened(error) for error in errors[:MAX_NAMED_MISTAKES]]
    more += len(errors) - len(named)
    detail = "; ".join(f"{error.where}: {error.message}" for error in named)
    return HttpProblem(
        "invalid_request", f"{detail}; and {more} more" if more else detail, errors=named
    )


def _shortened(error: FieldProblem) -> FieldProblem:
    return FieldProblem(
        where=error.where[:_MAX_WHERE_LENGTH], message=error.message[:_MAX_MESSAGE_LENGTH]
    )


def problem_response(
    code: str,
    detail: str,
    *,
    errors: list[FieldProblem] | None = None,
    decisions: list[CallDecision] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return a problem as a response. One that passes has a ``Retry-After`` also without ``headers``."""
    problem_type = PROBLEMS[code]
    problem = Problem(
        title=problem_type.title,
        status=problem_type.status,
        code=code,
        detail=detail,
        errors=errors or [],
        decisions=decisions,
    )
    response = _ProblemResponse(problem, headers)
    if problem_type.retry_after_seconds is not None:
        response.headers.setdefault("retry-after", str(problem_type.retry_after_seconds))
    return response


class _ProblemResponse(JSONResponse):
    """A problem response, which leaves its code in the scope for the metrics.

    Under the prefix of an adapter it is spelled as that protocol does.
    """

    media_type = MEDIA_TYPE

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None) -> None:
        super().__init__(
            problem.model_dump(mode="json", exclude=None if problem.decisions else {"decisions"}),
            status_code=problem.status,
            headers=headers,
        )
        self._problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[PROBLEM_CODE] = self._problem.code
        adapter: Adapter | None = scope.get(ADAPTER)
        if adapter is not None:
            await adapter.refuse(self._refusal())(scope, receive, send)
            return
        await super().__call__(scope, receive, send)

    def _refusal(self) -> Refusal:
        """Return the problem for an adapter to spell, with the headers that it keeps."""
        return Refusal(
            status=self._problem.status,
            code=self._problem.code,
            detail=self._problem.detail,
            errors=[(error.where, error.message) for error in self._problem.errors],
            headers={
                name: value
                for name, value in self.headers.items()
                if name not in {"content-type", "content-length"}
            },
        )


def problem_responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route that may fail with these codes."""
    responses: dict[int | str, dict[str, Any]] = {}
    for code in ("database_unavailable", *codes):
        response = {"model": Problem, CODES_EXTENSION: []}
        responses.setdefault(PROBLEMS[code].status, response)[CODES_EXTENSION].append(code)
    return responses


def install(app: FastAPI) -> None:
    """Answer every error of ``app`` with a problem."""
    for error_class, handler in _HANDLERS.items():
        app.add_exception_handler(error_class, handler)


async def respond_to(scope: Scope, error: Exception) -> JSONResponse:
    """Return the response to an error that was raised outside of the application, as it would answer."""
    handler = next(_HANDLERS[each] for each in type(error).__mro__ if each in _HANDLERS)
    return await handler(Request(scope), error)


async def _on_refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)  # noqa: S101 - registered for it
    decisions = [CallDecision(**each) for each in error.context.get("decisions") or ()]
    return problem_response(error.code, str(error), decisions=decisions)


def to_response(error: HTTPException | DatabaseUnavailable) -> JSONResponse:
    """Return the response to such an error."""
    if isinstance(error, DatabaseUnavailable):
        return _database_unavailable_response(error)
    if isinstance(error, HttpProblem):
        return problem_response(
            error.code, error.detail, errors=error.errors, headers=error.headers
        )
    return problem_response(_code_of(error), str(error.detail), headers=error.headers)


def _code_of(error: HTTPException) -> str:
    """Return the code of an error that FastAPI or Starlette raised: the first one of its status."""
    codes = (code for code, problem in PROBLEMS.items() if problem.status == error.status_code)
    return next(codes, "bad_request")


def _database_unavailable_response(error: DatabaseUnavailable) -> JSONResponse:
    _log.warning("http.database_unavailable", error=str(error))
    return problem_response(
        "database_unavailable",
        "The database cannot be reached just now; try again.",
    )


async def _on_database_unavailable(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DatabaseUnavailable)  # noqa: S101 - registered for it
    return to_response(error)


async def _on_chat_unreadable(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ChatUnreadable)  # noqa: S101 - registered for it
    _log.error("http.chat_unreadable", chat_id=error.context["chat_id"], exc_info=error)
    return problem_response(error.code, str(error))


async def _on_validation_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    unparsed = isinstance(error.body, bytes)  # no JSON content type, so FastAPI did not parse it
    details = error.errors()
    errors = [
        FieldProblem(
            where=".".join(map(str, detail["loc"])),
            message=_JSON_EXPECTED if unparsed and detail["loc"] == ("body",) else detail["msg"],
        )
        for detail in details[:MAX_NAMED_MISTAKES]
    ]
    return to_response(invalid_request(*errors, more=len(details) - len(errors)))


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    response = to_response(error)
    if error.status_code == PROBLEMS["method_not_allowed"].status:
        response.headers.update(_allow_header(request))
    return response


async def _on_client_disconnect(_: Request, _error: Exception) -> JSONResponse:
    """Return what nobody receives any more. The request was not carried out."""
    return problem_response("bad_request", "The client disconnected before its request was read.")


def _allow_header(request: Request) -> Mapping[str, str]:
    """Return all methods of this path. Starlette's own header has those of one route only."""
    routes: list[Route] = request.app.state.routes
    matching = [
        route
        for route in routes
        if (route.include_in_schema or route.methods == {"HEAD"} or ADAPTER in request.scope)
        and route.matches(request.scope)[0] != Match.NONE
    ]
    # A fixed path wins over a parameter: "stream" is not a chat's id.
    exact = [route for route in matching if route.path == request.url.path]
    methods = {method for route in exact or matching for method in route.methods or ()}
    return {"Allow": ", ".join(sorted(methods))} if methods else {}


async def _on_unexpected_error(request: Request, error: Exception) -> JSONResponse:
    _log.error(
        "http.unexpected",
        method=request.method,
        route=route_template(request.scope),
        exc_info=error,
    )
    request_id = request.scope[REQUEST_ID]
    detail = f"Something went wrong in chatd; it was logged with the request id {request_id}."
    return problem_response("internal", detail)


_HANDLERS: Final[
    Mapping[type[Exception], Callable[[Request, Exception], Awaitable[JSONResponse]]]
] = {
    Refused: _on_refused,
    DatabaseUnavailable: _on_database_unavailable,
    ChatUnreadable: _on_chat_unreadable,
    RequestValidationError: _on_validation_error,
    HTTPException: _on_http_exception,
    ClientDisconnect: _on_client_disconnect,
    Exception: _on_unexpected_error,
}
