"""Conformance of responses and stream events to the OpenAPI document.

The clients of the tests check every response and every event of every stream with it, so each test of
the API also tests the document.
"""

import json
import re
from functools import cache
from typing import Any

import httpx2
import jsonschema_rs

from chatd.daemon import openapi

SCHEMA_REF_PREFIX = "#/components/schemas/"
EVENT_STREAM = "text/event-stream"
PLAIN_TEXT = "text/plain"
ANY_MEDIA_TYPE = "*/*"


@cache
def document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    return openapi()


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    """Return every operation: method, path template, and its description."""
    return [
        (method, path, operation)
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
    ]


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    # A path without parameters has precedence over one whose parameter would match it.
    return [
        (re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))), path)
        for path in sorted(document()["paths"], key=lambda path: path.count("{"))
    ]


def find_operation(request: httpx2.Request) -> dict[str, Any] | None:
    """Return the operation of a request, or None if the document has no such operation."""
    for pattern, path in _patterns():
        if pattern.fullmatch(request.url.path):
            operation: dict[str, Any] | None = document()["paths"][path].get(request.method.lower())
            return operation
    return None


def mismatches(value: Any, schema: dict[str, Any]) -> list[str]:
    """Return the errors of a value against a schema of the document."""
    errors = _validator(json.dumps(schema)).iter_errors(value)
    return [f"{'.'.join(map(str, error.instance_path))}: {error.message}" for error in errors]


@cache
def _validator(schema: str) -> Any:
    complete = {**json.loads(schema), "components": document()["components"]}
    return jsonschema_rs.Draft202012Validator(complete, validate_formats=True)


def assert_event_documented(
    request: httpx2.Request, event: str, data: Any, cursor: str | None
) -> None:
    """Check that an event of a stream is one that its operation describes."""
    operation = find_operation(request)
    assert operation is not None, request.url
    schema = operation["responses"]["200"]["content"][EVENT_STREAM]["schema"]
    sent = {"event": event, "data": data} | ({} if cursor is None else {"id": cursor})
    wrong = mismatches(sent, schema)
    assert not wrong, (request.url.path, wrong, sent)


async def assert_documented(response: httpx2.Response) -> None:
    """Check that a response is one that its operation describes: status, media type, and schema."""
    operation = find_operation(response.request)
    if operation is None:
        return
    request_line = f"{response.request.method} {response.request.url.path}: {response.status_code}"
    described = operation["responses"].get(str(response.status_code))
    assert described is not None, f"{request_line} is not documented"
    media_type = response.headers.get("content-type", "").partition(";")[0]
    contents = described.get("content", {})
    assert media_type in contents or ANY_MEDIA_TYPE in contents or not contents, (
        f"{request_line} is not documented as {media_type}"
    )
    if media_type in {EVENT_STREAM, PLAIN_TEXT} or media_type not in contents:
        return
    await response.aread()
    wrong = mismatches(response.json(), contents[media_type]["schema"])
    assert not wrong, (request_line, wrong, response.text)
