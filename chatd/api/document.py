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

from chatd.api import headers
from chatd.api.auth import OPEN
from chatd.api.codes import REFUSALS, Reach, Refusal
from chatd.api.examples import EXAMPLES
from chatd.api.problems import CODES, MEDIA_TYPE, Problem

_SCHEMAS = "#/components/schemas/"
_FOREIGN = ("HTTPValidationError", "ValidationError")
_STREAM = "text/event-stream"
_REPEATABLE = {"post", "patch"}
_FOR_CALLERS = "/api/"
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token of `chatd token create`, or a JWT, as `auth.mode` says. Where that is "
    '`"none"`, nobody is asked.',
}
_PASSING = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds after which to try again, where that would help.",
        "schema": {"type": "integer", "minimum": 0},
    }
}
_PAGE = re.compile(r"Page_(\w+?)(?:Out)?_")


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """The ``document`` that FastAPI made, with everything that a caller needs to know."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _tell_headers(operation, method, path)
            _tell_refusals(operation, method, path)
            if path not in OPEN:
                operation["security"] = [{"bearer": []}]
    document["components"]["securitySchemes"] = {"bearer": _BEARER}
    for foreign in _FOREIGN:
        document["components"]["schemas"].pop(foreign, None)
    document = _renamed(document)
    document["components"]["examples"] = {code: _example(code) for code in REFUSALS}
    _show_examples(document["components"]["schemas"])
    return document


def _tell_headers(operation: dict[str, Any], method: str, path: str) -> None:
    """Name the headers that are read without FastAPI's knowing."""
    taken = [
        (headers.KEY, method in _REPEATABLE),
        (headers.LAST_EVENT, _STREAM in operation["responses"].get("200", {}).get("content", {})),
        (headers.OWNER, path.startswith(_FOR_CALLERS)),
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


def _tell_refusals(operation: dict[str, Any], method: str, path: str) -> None:
    """Have every refusal say its codes: those that the route names, and those within its reach."""
    answers = operation["responses"]
    codes = {code for one in answers.values() for code in one.pop(CODES, ())}
    codes |= {
        code for code, refusal in REFUSALS.items() if _reaches(refusal, operation, method, path)
    }
    for status in list(answers):
        if int(status) >= HTTPStatus.BAD_REQUEST:
            del answers[status]  # what FastAPI says of refusals is not how they look here
        elif _STREAM in answers[status].get("content", {}):
            answers[status]["content"][_STREAM]["schema"].pop("type", None)  # nor are streams text
    for code in sorted(codes, key=lambda code: (REFUSALS[code].status, code)):
        status = str(int(REFUSALS[code].status))
        answers.setdefault(status, _refusal(REFUSALS[code]))
        _tell_code(answers[status], code)


def _reaches(refusal: Refusal, operation: dict[str, Any], method: str, path: str) -> bool:
    match refusal.reach:
        case Reach.EVERY:
            return True
        case Reach.GUARDED:
            return path not in OPEN
        case Reach.BODY:
            return "requestBody" in operation
        case Reach.INPUT:
            return "requestBody" in operation or bool(operation.get("parameters"))
        case Reach.REPEATABLE:
            return method in _REPEATABLE
        case Reach.NAMED | Reach.NOWHERE:
            return False


def _refusal(refusal: Refusal) -> dict[str, Any]:
    named = {"code": {"enum": []}, "status": {"const": int(refusal.status)}}
    schema = {
        "allOf": [
            {"$ref": f"{_SCHEMAS}Problem"},
            {"type": "object", "required": ["code", "status"], "properties": named},
        ]
    }
    told = {
        "description": f"{refusal.status.phrase}.",
        "content": {MEDIA_TYPE: {"schema": schema, "examples": {}}},
    }
    return told | ({"headers": _RETRY_AFTER} if refusal.status in _PASSING else {})


def _tell_code(answer: dict[str, Any], code: str) -> None:
    refusal, content = REFUSALS[code], answer["content"][MEDIA_TYPE]
    answer["description"] += f"\n\n* `{code}`: {refusal.when}"
    content["schema"]["allOf"][1]["properties"]["code"]["enum"].append(code)
    content["examples"][code] = {"$ref": f"#/components/examples/{code}"}


def _example(code: str) -> dict[str, Any]:
    refusal = REFUSALS[code]
    problem = Problem(
        title=refusal.status.phrase, status=refusal.status, code=code, detail=refusal.when
    )
    return {"value": problem.model_dump(mode="json")}


def _renamed(document: dict[str, Any]) -> dict[str, Any]:
    """Schemas by the names that people use: ``Chat`` and ``ChatPage``, not the classes in here."""
    names = {name: _name(name) for name in document["components"]["schemas"]}
    text = json.dumps(document)
    for name, better in names.items():
        text = text.replace(f'"{_SCHEMAS}{name}"', f'"{_SCHEMAS}{better}"')
    renamed: dict[str, Any] = json.loads(text)
    schemas = renamed["components"]["schemas"]
    renamed["components"]["schemas"] = {names[name]: schemas[name] for name in sorted(schemas)}
    return renamed


def _name(name: str) -> str:
    return _PAGE.sub(r"\1Page", name).removesuffix("Out")


def _show_examples(schemas: dict[str, Any]) -> None:
    for name, schema in schemas.items():
        for example in _examples_of(name):
            schema["examples"] = [jsonable_encoder(example)]


def _examples_of(name: str) -> Iterator[object]:
    if name in EXAMPLES:
        yield EXAMPLES[name]
    elif name.endswith("Page") and name.removesuffix("Page") in EXAMPLES:
        yield {"items": [EXAMPLES[name.removesuffix("Page")]], "next_cursor": None}
