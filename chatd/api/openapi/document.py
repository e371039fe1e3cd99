"""The OpenAPI document, completed with what FastAPI cannot know of this API.

FastAPI derives paths, parameters and schemas from the routes. Added here are the headers that routes
read from the scope, the problems of each operation by code, summaries, examples and public names.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from chatd.api.errors.codes import PROBLEMS, ProblemType
from chatd.api.errors.problems import CODES_EXTENSION, MEDIA_TYPE, Problem
from chatd.api.openapi.examples import example_of
from chatd.api.request import headers

_SCHEMAS = "#/components/schemas/"
_FASTAPI_SCHEMAS = ("HTTPValidationError", "ValidationError")
_SSE_MEDIA_TYPE = "text/event-stream"
_REPLAYABLE_METHODS = {"post", "patch"}
_API_PREFIX = "/api/"
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": 'A token of `chatd token create`, or a JWT, as `auth.mode` says. With `"none"` no '
    "token is needed.",
}
_RETRYABLE_STATUSES = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds after which to try again, where that would help.",
        "schema": {"type": "integer", "minimum": 0},
    }
}
_PAGE_SCHEMA_NAME = re.compile(r"Page_(\w+?)(?:Out)?_")

GENERAL_CODES: Mapping[str, Collection[str]] = {
    "any": ("bad_request", "internal"),
    "authenticated": (
        "database_unavailable",
        "jwks_unavailable",
        "not_an_admin",
        "too_many_requests",
        "unauthorized",
    ),
    "with a body": ("body_too_large",),
    "with input": ("invalid_request",),
    "replayable": ("idempotency_key_reused",),
}
"""Codes that operations of one kind may all answer. Each route names its others."""


def finalize(document: dict[str, Any], *, public_paths: Collection[str]) -> dict[str, Any]:
    """Complete the ``document`` that FastAPI made."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if operation["summary"] == _default_summary(operation):
                operation["summary"] = _first_sentence(operation["description"])
            _add_headers(operation, method, path)
            _add_problems(operation, _kinds(operation, method, is_public=path in public_paths))
            if path not in public_paths:
                operation["security"] = [{"bearer": []}]
    components = document["components"]
    components["securitySchemes"] = {"bearer": _BEARER}
    for name in _FASTAPI_SCHEMAS:
        components["schemas"].pop(name, None)
    document = _rename_schemas(document)
    document["components"]["examples"] = {code: _problem_example(code) for code in PROBLEMS}
    _add_examples(document["components"]["schemas"])
    return document


def _default_summary(operation: dict[str, Any]) -> str:
    name: str = operation["operationId"]
    return name.replace("_", " ").title()


def _first_sentence(description: str) -> str:
    """Return the first sentence without its full stop."""
    return re.split(r"\.(?:\s|$)", description, maxsplit=1)[0].replace("\n", " ")


def _add_headers(operation: dict[str, Any], method: str, path: str) -> None:
    """Add the headers that routes read from the scope."""
    is_stream = _SSE_MEDIA_TYPE in operation["responses"].get("200", {}).get("content", {})
    for header, applies in (
        (headers.IDEMPOTENCY_KEY, method in _REPLAYABLE_METHODS),
        (headers.LAST_EVENT_ID, is_stream),
        (headers.OWNER, path.startswith(_API_PREFIX)),
    ):
        if applies:
            operation.setdefault("parameters", []).append(
                {
                    "name": header.name,
                    "in": "header",
                    "required": False,
                    "description": header.description,
                    "schema": dict(header.schema),
                }
            )


def _kinds(operation: dict[str, Any], method: str, *, is_public: bool) -> Iterator[str]:
    """Yield the kinds in ``GENERAL_CODES`` to which this operation belongs."""
    yield "any"
    if not is_public:
        yield "authenticated"
    if "requestBody" in operation:
        yield "with a body"
    if "requestBody" in operation or operation.get("parameters"):
        yield "with input"
    if method in _REPLAYABLE_METHODS:
        yield "replayable"


def _add_problems(operation: dict[str, Any], kinds: Iterator[str]) -> None:
    """Describe every error response by the codes that it may have."""
    responses = operation["responses"]
    codes = {code for response in responses.values() for code in response.pop(CODES_EXTENSION, ())}
    codes.update(code for kind in kinds for code in GENERAL_CODES[kind])
    for status in list(responses):
        if int(status) >= HTTPStatus.BAD_REQUEST:
            del responses[status]  # FastAPI's description of errors, which differ here
        elif _SSE_MEDIA_TYPE in responses[status].get("content", {}):
            # FastAPI takes the schema of an event for that of a text.
            responses[status]["content"][_SSE_MEDIA_TYPE]["schema"].pop("type", None)
    for code in sorted(codes, key=lambda code: (PROBLEMS[code].status, code)):
        status = str(int(PROBLEMS[code].status))
        responses.setdefault(status, _problem_response(PROBLEMS[code]))
        _add_code(responses[status], code)


def _problem_response(problem_type: ProblemType) -> dict[str, Any]:
    properties = {"code": {"enum": []}, "status": {"const": int(problem_type.status)}}
    schema = {
        "allOf": [
            {"$ref": f"{_SCHEMAS}Problem"},
            {"type": "object", "required": ["code", "status"], "properties": properties},
        ]
    }
    response = {
        "description": f"{problem_type.status.phrase}.",
        "content": {MEDIA_TYPE: {"schema": schema, "examples": {}}},
    }
    if problem_type.status in _RETRYABLE_STATUSES:
        response["headers"] = _RETRY_AFTER
    return response


def _add_code(response: dict[str, Any], code: str) -> None:
    content = response["content"][MEDIA_TYPE]
    response["description"] += f"\n\n* `{code}`: {PROBLEMS[code].description}"
    content["schema"]["allOf"][1]["properties"]["code"]["enum"].append(code)
    content["examples"][code] = {"$ref": f"#/components/examples/{code}"}


def _problem_example(code: str) -> dict[str, Any]:
    problem_type = PROBLEMS[code]
    problem = Problem(
        title=problem_type.status.phrase,
        status=problem_type.status,
        code=code,
        detail=problem_type.description,
    )
    return {"value": problem.model_dump(mode="json")}


def _rename_schemas(document: dict[str, Any]) -> dict[str, Any]:
    """Give schemas their public names: ``Chat`` and ``ChatPage``, not those of the classes."""
    names = {name: _public_name(name) for name in document["components"]["schemas"]}
    text = json.dumps(document)
    for name, public_name in names.items():
        text = text.replace(f'"{_SCHEMAS}{name}"', f'"{_SCHEMAS}{public_name}"')
    renamed: dict[str, Any] = json.loads(text)
    schemas = renamed["components"]["schemas"]
    renamed["components"]["schemas"] = {
        names[name]: schemas[name] | {"title": names[name]} for name in sorted(schemas)
    }
    return renamed


def _public_name(name: str) -> str:
    return _PAGE_SCHEMA_NAME.sub(r"\1Page", name).removesuffix("Out")


def _add_examples(schemas: dict[str, Any]) -> None:
    """Give every object schema an example, made of the examples of its fields."""
    for schema in schemas.values():
        if schema.get("type") == "object" and "examples" not in schema:
            schema["examples"] = [example_of(schema, schemas)]
