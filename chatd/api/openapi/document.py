"""The OpenAPI document, completed with what FastAPI cannot know of this API.

FastAPI derives paths, parameters and schemas from the routes. Added here by rule are the headers that
routes read from the scope, the problems of each operation by code, summaries and examples.
"""

import json
import re
from collections.abc import Collection
from http import HTTPStatus
from itertools import groupby
from typing import Any

from chatd.api.auth.permissions import OPERATION_SCOPES
from chatd.api.errors.codes import PROBLEMS
from chatd.api.errors.problems import CODES_EXTENSION, MEDIA_TYPE, Problem
from chatd.api.openapi.examples import example_of
from chatd.api.request import headers

_SSE_MEDIA_TYPE = "text/event-stream"
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": 'A token of `chatd token create`, or a JWT, as `auth.mode` says. With `"none"` no '
    "token is needed. An operation takes a token that has one of the scopes it lists.",
}
_RETRY_AFTER = {
    "description": "Seconds after which to try again, where that would help.",
    "schema": {"type": "integer", "minimum": 0},
}
_RETRYABLE_STATUSES = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


def finalize(document: dict[str, Any], *, public_paths: Collection[str]) -> dict[str, Any]:
    """Complete the ``document`` that FastAPI made."""
    # Of a page of chats pydantic makes the schema ``Page_Chat_`` with the title ``Page[Chat]``.
    document = json.loads(re.sub(r"Page[_[](\w+?)[_\]]", r"\1Page", json.dumps(document)))
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _add_summary(operation)
            codes = _apply_rules(operation, method, path, is_public=path in public_paths)
            _add_problems(operation, codes)
            _add_location(operation)
    components = document["components"]
    components["securitySchemes"] = {"bearer": _BEARER}
    components["examples"] = {code: {"value": _problem_example(code)} for code in PROBLEMS}
    schemas = components["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        del schemas[name]  # FastAPI's description of errors, which differ here
    for schema in schemas.values():
        if schema.get("type") == "object":
            schema.setdefault("examples", [example_of(schema, schemas)])
    return document


def _add_summary(operation: dict[str, Any]) -> None:
    """Add the first sentence of the description, unless the route has a summary of its own."""
    if operation["summary"] == operation["operationId"].replace("_", " ").title():
        sentence = re.split(r"\.(?:\s|$)", operation["description"], maxsplit=1)[0]
        operation["summary"] = sentence.replace("\n", " ")


def _apply_rules(operation: dict[str, Any], method: str, path: str, *, is_public: bool) -> set[str]:
    """Add what all operations of a kind have. Return the codes that they may answer with."""
    codes = {"bad_request", "head_too_large", "internal", "misdirected_request", "request_timeout"}
    codes.add("too_many_connections")
    if method not in {"get", "head"}:
        codes.add("foreign_origin")
    request_headers = []
    if not is_public:
        scopes = OPERATION_SCOPES[operation["operationId"]]
        operation["security"] = [{"bearer": [scope.value]} for scope in scopes]
        codes |= {"unauthorized", "insufficient_scope", "too_many_requests"}
        codes |= {"database_unavailable", "jwks_unavailable", "not_ready"}
    if method in {"post", "patch"}:
        request_headers.append(headers.IDEMPOTENCY_KEY)
        codes.add("idempotency_key_reused")
    if _SSE_MEDIA_TYPE in operation["responses"].get("200", {}).get("content", {}):
        request_headers.append(headers.LAST_EVENT_ID)
    if path.startswith("/api/v1/chats"):
        codes.add("chat_unreadable")
    if path.startswith("/api/"):
        request_headers.append(headers.OWNER)
    operation.setdefault("parameters", []).extend(header.parameter() for header in request_headers)
    if "requestBody" in operation:
        codes.add("body_too_large")
    if "requestBody" in operation or operation["parameters"]:
        codes.add("invalid_request")
    return codes


def _add_problems(operation: dict[str, Any], codes: set[str]) -> None:
    """Replace FastAPI's error responses by those of the ``codes`` and of the route's own codes."""
    responses = operation["responses"]
    for status in [status for status in responses if int(status) >= HTTPStatus.BAD_REQUEST]:
        codes.update(responses.pop(status).get(CODES_EXTENSION, ()))
    for status, group in groupby(
        sorted(codes, key=lambda code: (PROBLEMS[code].status, code)),
        key=lambda code: PROBLEMS[code].status,
    ):
        responses[str(status)] = _problem_response(status, [*group])


def _add_location(operation: dict[str, Any]) -> None:
    """Add the header that names what a request has created."""
    if created := operation["responses"].get("201"):
        created["headers"] = {
            "Location": {
                "description": "Path of the created resource.",
                "schema": {"type": "string", "format": "uri-reference"},
            }
        }


def _problem_response(status: int, codes: list[str]) -> dict[str, Any]:
    descriptions = [f"* `{code}`: {PROBLEMS[code].description}" for code in codes]
    constraints = {
        "type": "object",
        "required": ["code", "status"],
        "properties": {"code": {"enum": codes}, "status": {"const": status}},
    }
    content = {
        "schema": {"allOf": [{"$ref": "#/components/schemas/Problem"}, constraints]},
        "examples": {code: {"$ref": f"#/components/examples/{code}"} for code in codes},
    }
    return {
        "description": "\n\n".join([f"{PROBLEMS[codes[0]].title}.", *descriptions]),
        "content": {MEDIA_TYPE: content},
        **({"headers": {"Retry-After": _RETRY_AFTER}} if status in _RETRYABLE_STATUSES else {}),
    }


def _problem_example(code: str) -> dict[str, Any]:
    problem = PROBLEMS[code]
    return Problem(
        title=problem.title, status=problem.status, code=code, detail=problem.description
    ).model_dump()
