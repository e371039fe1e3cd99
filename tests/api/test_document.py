"""The OpenAPI document says what the API does."""

import re
from collections.abc import Iterator
from typing import Any

from asking import BODIES, PROBLEM, document, of_chats, operations
from inside import one

REF = "#/components/schemas/"


def references(node: Any) -> Iterator[str]:
    """Every $ref in a document."""
    match node:
        case dict():
            for key, value in node.items():
                if key == "$ref":
                    yield value
                else:
                    yield from references(value)
        case list():
            for value in node:
                yield from references(value)


def test_every_reference_resolves_and_every_schema_is_used() -> None:
    found = set(references(document()))
    schemas = document()["components"]["schemas"]
    assert len(found) > 10
    assert found == {REF + name for name in schemas}


def test_every_operation_says_what_it_is_for() -> None:
    for method, path, operation in operations():
        assert operation["summary"], (method, path)
        assert operation["description"].strip().endswith("."), (method, path)
        assert operation["tags"], (method, path)
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(ids) == len(set(ids))


def test_every_refusal_is_a_problem() -> None:
    for method, path, operation in operations():
        assert "500" in operation["responses"]
        for status, answer in operation["responses"].items():
            assert answer["description"], (method, path, status)
            if int(status) >= 400:
                assert answer["content"] == {PROBLEM: {"schema": {"$ref": f"{REF}Problem"}}}
            elif int(status) == 204:
                assert "content" not in answer
            else:
                (content,) = answer["content"].values()
                assert content["schema"], (method, path, status)


def test_what_can_be_refused_is_documented() -> None:
    chats = set(of_chats())
    for method, path, operation in operations():
        told = operation["responses"].keys()
        if (method, path) in chats:
            assert {"404", "422", "503"} <= told, path
        if "requestBody" in operation:
            assert {"400", "413", "422"} <= told, path
            assert (method, path) in BODIES, "tests/asking.py needs a body for it"


def test_every_parameter_of_a_path_is_described() -> None:
    for method, path, operation in operations():
        named = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
        assert named == set(re.findall(r"\{(\w+)\}", path)), (method, path)


def test_last_error_is_always_there() -> None:
    chat = document()["components"]["schemas"]["ChatOut"]
    assert set(chat["required"]) == set(chat["properties"])
    assert {"type": "null"} in chat["properties"]["last_error"]["anyOf"]


async def test_it_is_served(dsn: str) -> None:
    async with one(dsn) as chatd:
        answer = await chatd.api.http.get("/openapi.json")
        assert answer.status_code == 200
        assert answer.json() == document()
        docs = await chatd.api.http.get("/docs")
        assert docs.status_code == 200
        assert "/openapi.json" in docs.text
