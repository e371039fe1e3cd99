"""Bounds on everything that a caller gives: each is in the OpenAPI document."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.in_process import InProcessDaemon
from support.openapi_conformance import SCHEMA_REF_PREFIX, document
from support.requests import assert_problem, operations

from chatd.api.errors.problems import MAX_NAMED_MISTAKES
from chatd.api.schema.types import MAX_ITEMS, MAX_JSON_DEPTH, MAX_JSON_VALUES, MAX_LABELS_LENGTH

JSON = {"content-type": "application/json"}
CHATS = "/api/v1/chats"


def given_schemas() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the schema of every parameter and body that a caller gives, with its place."""
    for method, path, operation in operations():
        for parameter in operation.get("parameters", []):
            yield f"{method} {path}: {parameter['name']}", parameter["schema"]
        for content in operation.get("requestBody", {}).get("content", {}).values():
            yield f"{method} {path}: body", content["schema"]


def unbounded(where: str, schema: Any) -> Iterator[str]:
    """Yield each place in a schema that a value of any size fits."""
    if not isinstance(schema, dict):
        return
    if reference := schema.get("$ref"):
        name = reference.removeprefix(SCHEMA_REF_PREFIX)
        yield from unbounded(f"{where}: {name}", document()["components"]["schemas"][name])
        return
    alternatives = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]
    for number, alternative in enumerate(alternatives):
        yield from unbounded(f"{where}|{number}", alternative)
    if not alternatives and not schema.keys() & {"const", "enum"}:
        yield from unbounded_value(where, schema)


def unbounded_value(where: str, schema: dict[str, Any]) -> Iterator[str]:
    match schema.get("type", "any JSON"):
        case "string" if schema.get("format") in {"uuid", "date-time"}:
            bounds = set[str]()
        case kind:
            bounds = BOUNDS[kind]
    if not schema.keys() >= bounds:
        yield f"{where}: {schema.get('type', 'any JSON')} without {', '.join(sorted(bounds))}"
    if schema.get("type") == "array":
        yield from unbounded(f"{where}[]", schema.get("items", {}))
    if schema.get("type") == "object":
        yield from unbounded_members(where, schema)


ANY_JSON = {"x-maxValues", "x-maxDepth"}
BOUNDS: dict[str, set[str]] = {
    "string": {"maxLength"},
    "integer": {"minimum", "maximum"},
    "number": {"minimum", "maximum"},
    "array": {"maxItems"},
    "any JSON": ANY_JSON,
    "object": set(),
    "boolean": set(),
    "null": set(),
}
"""Keywords that bound a value, by its type."""


def unbounded_members(where: str, schema: dict[str, Any]) -> Iterator[str]:
    for name, member in schema.get("properties", {}).items():
        yield from unbounded(f"{where}.{name}", member)
    more = schema.get("additionalProperties", True)
    if more is False:
        return
    if "maxProperties" not in schema:
        yield f"{where}: object without maxProperties"
    if not schema.keys() >= ANY_JSON:
        yield from unbounded(f"{where}.*", {} if more is True else more)
        names = {"type": "string"} | schema.get("propertyNames", {})
        yield from unbounded(f"{where}.* (name)", names)


def test_everything_that_a_caller_gives_has_a_bound() -> None:
    schemas = [*given_schemas()]
    assert len(schemas) > 40
    found = [place for where, schema in schemas for place in unbounded(where, schema)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("schema", "found"),
    [
        ({"type": "string"}, "x: string without maxLength"),
        ({"type": "integer", "minimum": 0}, "x: integer without maximum, minimum"),
        ({"type": "array", "maxItems": 2, "items": {}}, "x[]: any JSON without"),
        ({"type": "array", "items": {"type": "null"}}, "x: array without maxItems"),
        ({"type": "object"}, "x: object without maxProperties"),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, "x|1: string without"),
        (
            {"type": "object", "maxProperties": 2, "additionalProperties": {"type": "null"}},
            "x.* (name): string without",
        ),
    ],
)
def test_walk_finds_what_has_no_bound(schema: dict[str, Any], found: str) -> None:
    assert any(place.startswith(found) for place in unbounded("x", schema))


async def test_problem_names_the_first_mistakes_only(chatd: InProcessDaemon) -> None:
    """A wrong body of any shape gets a short response, which tells how many mistakes there are."""
    number = MAX_ITEMS
    for body, named, where in (
        ({"content": [{}] * number}, number, "body.content.parts.0"),
        ({"labels": {str(n): n for n in range(number)}}, number, "body.labels.0"),
        ({"tools": [{}] * number}, 2 * number, "body.tools.0.name"),
        ({f"x{n}": n for n in range(100)}, 100, "body.x0"),
    ):
        answer = await chatd.api.http.post(CHATS, json=body)
        problem = assert_problem(
            answer, 422, "invalid_request", f"; and {named - MAX_NAMED_MISTAKES} more"
        )
        assert len(problem["errors"]) == MAX_NAMED_MISTAKES
        assert problem["errors"][0]["where"] == where
        assert len(answer.content) < 10_000


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"content": [{}] * (MAX_ITEMS + 1)}, "more than 1000 items"),
        ({"tools": [0] * (MAX_ITEMS + 1)}, "more than 1000 items"),
        ({"labels": {str(n): "" for n in range(MAX_ITEMS + 1)}}, "more than 1000 items"),
        ({"labels": {str(n): "v" * 1000 for n in range(17)}}, f"than {MAX_LABELS_LENGTH} char"),
        ({f"x{n}": n for n in range(101)}, "more than 100 fields"),
        (
            {"content": [{"type": "text"} | {f"x{n}": n for n in range(101)}]},
            "more than 100 fields",
        ),
        ({"title": [0] * MAX_JSON_VALUES}, "more than 20000 values"),
        ({"title": [[]] * (MAX_JSON_VALUES // 2)}, "more than 20000 values"),
        ({"title": [{"a": ""}] * (MAX_JSON_VALUES // 2)}, "more than 20000 values"),
        ({"title": ['","'] * MAX_JSON_VALUES}, "more than 20000 values"),
        ({"title": ["\\", '\\"', '"'] * (MAX_JSON_VALUES // 2)}, "more than 20000 values"),
        ({"model": "m" * 201}, "at most 200 characters"),
        ({"title": [10**4000] * 300}, "digits"),
    ],
)
async def test_oversized_body_is_refused_in_one_sentence(
    chatd: InProcessDaemon, body: dict[str, Any], words: str
) -> None:
    problem = assert_problem(
        await chatd.api.http.post(CHATS, json=body), 422, "invalid_request", words
    )
    assert len(problem["errors"]) == 1


@pytest.mark.parametrize("depth", [MAX_JSON_DEPTH + 5, 1_000, 100_000])
async def test_deeply_nested_body_is_refused(chatd: InProcessDaemon, depth: int) -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        body = f'{{"title": {opening * depth}1{closing * depth}}}'
        answer = await chatd.api.http.post(CHATS, content=body, headers=JSON)
        words = "nested more than 64 deep" if depth < MAX_JSON_VALUES else "more than 20000 values"
        assert_problem(answer, 422, "invalid_request", words)


async def test_white_space_is_no_structure(chatd: InProcessDaemon) -> None:
    body = '{"content":%s"hello"}' % (" " * 2_000_000)
    answer = await chatd.api.http.post(CHATS, content=body, headers=JSON)
    assert answer.status_code == 201


async def test_structure_inside_of_text_is_no_structure(chatd: InProcessDaemon) -> None:
    """What looks like JSON is counted outside of strings only, whatever is escaped in them."""
    for text in ('[{,"' * MAX_JSON_VALUES, '\\"' * MAX_JSON_VALUES, "[" * 100, '\\\\",[\\'):
        chat = await chatd.api.create(content=text)
        assert (await chatd.api.texts(chat["id"], "user")) == [text]


async def test_mistake_does_not_repeat_the_body(chatd: InProcessDaemon) -> None:
    long = "x" * 100_000
    for body in (
        {long: 1},
        {"content": [{"type": long}]},
        {"labels": {long: 1}},
        {"tools": [{"name": "a", "parameters": {"type": "object", "properties": {long: 1}}}]},
        {"model": "m" * 200},
    ):
        answer = await chatd.api.http.post(CHATS, json=body)
        assert answer.status_code == 422
        assert len(answer.content) < 2_000, body.keys()


async def test_json_that_is_not_utf_8_is_refused(chatd: InProcessDaemon) -> None:
    """In another encoding a quotation mark may hide in a letter, and everything after it from the count."""
    body = json.dumps({"title": [0] * MAX_JSON_VALUES, "a": "\u2222"}, ensure_ascii=False)
    for encoding in ("utf-16-le", "utf-16", "utf-32-be"):
        answer = await chatd.api.http.post(CHATS, content=body.encode(encoding), headers=JSON)
        assert_problem(answer, 422, "invalid_request", "UTF-8")


async def test_long_parameters_are_refused(chatd: InProcessDaemon) -> None:
    chat = await chatd.api.create()
    for path, params in (
        (CHATS, {"cursor": "a" * 256}),
        (f"{CHATS}/stream", {"after": "a" * 256}),
        (f"{CHATS}/{chat['id']}/stream", {"after": "1" * 256}),
    ):
        answer = await chatd.api.http.get(path, params=params)
        assert_problem(answer, 422, "invalid_request", "at most 255 characters")
    for path in (f"{CHATS}/stream", f"{CHATS}/{chat['id']}/stream"):
        answer = await chatd.api.http.get(path, headers={"last-event-id": "1" * 2000})
        assert_problem(answer, 422, "invalid_request", "header.last-event-id")
    answer = await chatd.api.http.get(CHATS, params={f"x{n}": "" for n in range(3_000)})
    assert_problem(answer, 422, "invalid_request", "unknown parameter; and 2980 more")
