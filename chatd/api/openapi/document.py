"""The OpenAPI document, finished: what FastAPI cannot know of what this API answers.

Every refusal is a problem, and says its codes; shapes have the names that people use; and every
shape that a caller sends or gets has an example.
"""

import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from fastapi.encoders import jsonable_encoder

from chatd.api.auth.identity import PUBLIC_PATHS
from chatd.api.errors.codes import PROBLEMS, AppliesTo, ProblemType
from chatd.api.errors.problems import CODES_EXTENSION, MEDIA_TYPE, Problem
from chatd.api.openapi.examples import EXAMPLES
from chatd.api.request import headers

_SCHEMAS = "#/components/schemas/"
_FASTAPI_SCHEMAS = ("HTTPValidationError", "ValidationError")
_SSE_MEDIA_TYPE = "text/event-stream"
_REPLAYABLE_METHODS = {"post", "patch"}
_API_PREFIX = "/api/"
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token of `chatd token create`, or a JWT, as `auth.mode` says. Where that is "
    '`"none"`, nobody is asked.',
}
_RETRYABLE_STATUSES = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds after which to try again, where that would help.",
        "schema": {"type": "integer", "minimum": 0},
    }
}
_PAGE_SCHEMA_NAME = re.compile(r"Page_(\w+?)(?:Out)?_")
_PAGE_DESCRIPTION = {"description": "One page of a list."}


def finalize(document: dict[str, Any]) -> dict[str, Any]:
    """The ``document`` that FastAPI made, with everything that a caller needs to know."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _add_headers(operation, method, path)
            _add_problems(operation, method, path)
            if path not in PUBLIC_PATHS:
                operation["security"] = [{"bearer": []}]
    document["components"]["securitySchemes"] = {"bearer": _BEARER}
    for foreign in _FASTAPI_SCHEMAS:
        document["components"]["schemas"].pop(foreign, None)
    document = _rename_schemas(document)
    document["components"]["examples"] = {code: _problem_example(code) for code in PROBLEMS}
    _add_examples(document["components"]["schemas"])
    return document


def _add_headers(operation: dict[str, Any], method: str, path: str) -> None:
    """Name the headers that are read without FastAPI's knowing."""
    taken = [
        (headers.IDEMPOTENCY_KEY, method in _REPLAYABLE_METHODS),
        (
            headers.LAST_EVENT_ID,
            _SSE_MEDIA_TYPE in operation["responses"].get("200", {}).get("content", {}),
        ),
        (headers.OWNER, path.startswith(_API_PREFIX)),
    ]
    for header, is_taken in taken:
        if is_taken:
            operation.setdefault("parameters", []).append(
                {
                    "name": header.name,
                    "in": "header",
                    "required": False,
                    "description": header.description,
                    "schema": dict(header.schema),
                }
            )


def _add_problems(operation: dict[str, Any], method: str, path: str) -> None:
    """Have every refusal say its codes: those that the route names, and those within its reach."""
    answers = operation["responses"]
    codes = {code for one in answers.values() for code in one.pop(CODES_EXTENSION, ())}
    codes |= {
        code for code, refusal in PROBLEMS.items() if _applies(refusal, operation, method, path)
    }
    for status in list(answers):
        if int(status) >= HTTPStatus.BAD_REQUEST:
            del answers[status]  # what FastAPI says of refusals is not how they look here
        elif _SSE_MEDIA_TYPE in answers[status].get("content", {}):
            answers[status]["content"][_SSE_MEDIA_TYPE]["schema"].pop(
                "type", None
            )  # nor are streams text
    for code in sorted(codes, key=lambda code: (PROBLEMS[code].status, code)):
        status = str(int(PROBLEMS[code].status))
        answers.setdefault(status, _problem_response(PROBLEMS[code]))
        _add_code(answers[status], code)


def _applies(problem_type: ProblemType, operation: dict[str, Any], method: str, path: str) -> bool:
    match problem_type.applies_to:
        case AppliesTo.EVERY:
            return True
        case AppliesTo.AUTHENTICATED:
            return path not in PUBLIC_PATHS
        case AppliesTo.BODY:
            return "requestBody" in operation
        case AppliesTo.INPUT:
            return "requestBody" in operation or bool(operation.get("parameters"))
        case AppliesTo.REPLAYABLE:
            return method in _REPLAYABLE_METHODS
        case AppliesTo.DECLARED | AppliesTo.UNROUTED:
            return False


def _problem_response(problem_type: ProblemType) -> dict[str, Any]:
    named = {"code": {"enum": []}, "status": {"const": int(problem_type.status)}}
    schema = {
        "allOf": [
            {"$ref": f"{_SCHEMAS}Problem"},
            {"type": "object", "required": ["code", "status"], "properties": named},
        ]
    }
    told = {
        "description": f"{problem_type.status.phrase}.",
        "content": {MEDIA_TYPE: {"schema": schema, "examples": {}}},
    }
    return told | ({"headers": _RETRY_AFTER} if problem_type.status in _RETRYABLE_STATUSES else {})


def _add_code(response: dict[str, Any], code: str) -> None:
    refusal, content = PROBLEMS[code], response["content"][MEDIA_TYPE]
    response["description"] += f"\n\n* `{code}`: {refusal.description}"
    content["schema"]["allOf"][1]["properties"]["code"]["enum"].append(code)
    content["examples"][code] = {"$ref": f"#/components/examples/{code}"}


def _problem_example(code: str) -> dict[str, Any]:
    refusal = PROBLEMS[code]
    problem = Problem(
        title=refusal.status.phrase, status=refusal.status, code=code, detail=refusal.description
    )
    return {"value": problem.model_dump(mode="json")}


def _rename_schemas(document: dict[str, Any]) -> dict[str, Any]:
    """Schemas by the names that people use: ``Chat`` and ``ChatPage``, not the classes in here."""
    names = {name: _public_name(name) for name in document["components"]["schemas"]}
    text = json.dumps(document)
    for name, better in names.items():
        text = text.replace(f'"{_SCHEMAS}{name}"', f'"{_SCHEMAS}{better}"')
    renamed: dict[str, Any] = json.loads(text)
    schemas = renamed["components"]["schemas"]
    renamed["components"]["schemas"] = {
        names[name]: _PAGE_DESCRIPTION | schemas[name] | {"title": names[name]}
        if _PAGE_SCHEMA_NAME.fullmatch(name)
        else schemas[name] | {"title": names[name]}
        for name in sorted(schemas)
    }
    return renamed


def _public_name(name: str) -> str:
    return _PAGE_SCHEMA_NAME.sub(r"\1Page", name).removesuffix("Out")


def _add_examples(schemas: dict[str, Any]) -> None:
    for name, schema in schemas.items():
        for example in _examples_for(name):
            schema["examples"] = [jsonable_encoder(example)]


def _examples_for(name: str) -> Iterator[object]:
    if name in EXAMPLES:
        yield EXAMPLES[name]
    elif name.endswith("Page") and name.removesuffix("Page") in EXAMPLES:
        yield {"items": [EXAMPLES[name.removesuffix("Page")]], "next_cursor": None}
