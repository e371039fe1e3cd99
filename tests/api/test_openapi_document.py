"""The OpenAPI document: completeness, and agreement with the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from support.in_process import InProcessDaemon
from support.openapi_conformance import (
    ANY_MEDIA_TYPE,
    EVENT_STREAM,
    PLAIN_TEXT,
    SCHEMA_REF_PREFIX,
    assert_documented,
    document,
    mismatches,
    operations,
)
from support.requests import PROBLEM_JSON, VALID_BODIES, chat_operations

import chatd
from chatd.api.errors.codes import PROBLEMS
from chatd.domain.errors import Refused

CODE = Path(chatd.__file__).parent


def references(node: Any) -> Iterator[str]:
    """Yield every $ref in a document."""
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
    examples = {f"#/components/examples/{code}" for code in PROBLEMS}
    assert found - examples == {SCHEMA_REF_PREFIX + name for name in schemas}
    for name, schema in schemas.items():
        assert re.fullmatch("[A-Z][A-Za-z]+", name), "not a public name"
        assert schema["title"] == name
        assert schema["description"].strip().endswith("."), name


def test_every_operation_has_a_summary_and_description() -> None:
    for method, path, operation in operations():
        summary = operation["summary"]
        assert 1 < len(summary.split()) <= 12, (method, path, summary)
        assert not summary.endswith("."), (method, path)
        assert summary != operation["operationId"].replace("_", " ").title(), (method, path)
        assert operation["description"].strip().endswith("."), (method, path)
        assert operation["tags"], (method, path)
        assert re.fullmatch("[a-z_]+", operation["operationId"]), (method, path)
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(ids) == len(set(ids))


def test_every_error_response_is_a_problem_with_its_codes() -> None:
    for method, path, operation in operations():
        assert "500" in operation["responses"]
        for status, answer in operation["responses"].items():
            assert answer["description"], (method, path, status)
            if int(status) < 400:
                assert ("content" in answer) is (status not in {"204", "304"}), (
                    method,
                    path,
                    status,
                )
                continue
            assert list(answer["content"]) == [PROBLEM_JSON], (method, path, status)
            content = answer["content"][PROBLEM_JSON]
            problem, this = content["schema"]["allOf"]
            assert problem == {"$ref": f"{SCHEMA_REF_PREFIX}Problem"}
            codes = this["properties"]["code"]["enum"]
            assert codes == list(content["examples"]), (method, path, status)
            for code, reference in content["examples"].items():
                assert reference == {"$ref": f"#/components/examples/{code}"}
                example = document()["components"]["examples"][code]["value"]
                assert f"`{code}`: {PROBLEMS[code].description}" in answer["description"]
                assert PROBLEMS[code].status == int(status)
                assert not mismatches(example, content["schema"])
                assert mismatches({**example, "code": "other"}, content["schema"])


def test_common_error_statuses_are_documented() -> None:
    chats = set(chat_operations())
    for method, path, operation in operations():
        declared = operation["responses"].keys()
        if (method, path) in chats:
            assert {"404", "422", "503"} <= declared, path
        if "requestBody" in operation:
            assert {"400", "413", "422"} <= declared, path
            assert (method, path) in VALID_BODIES, "support.requests needs a body for it"


def used_codes(tree: ast.Module) -> Iterator[str]:
    """Yield the codes in a file: ``code = "…"``, and arguments of problems."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(body=body):
                for line in body:
                    match line:
                        case ast.Assign(
                            targets=[ast.Name("code")], value=ast.Constant(str() as code)
                        ):
                            yield code
            case ast.Call(func=ast.Name(name) | ast.Attribute(attr=name), args=args) if name in {
                "HttpProblem",
                "problem_response",
                "problem_responses",
            }:
                yield from (
                    one.value
                    for one in args
                    if isinstance(one, ast.Constant)
                    and isinstance(one.value, str)
                    and re.fullmatch("[a-z_]+", one.value)
                )


def test_every_used_code_is_declared() -> None:
    files = [*(CODE / "api").glob("**/*.py"), CODE / "domain" / "errors.py"]
    found = {code for file in files for code in used_codes(ast.parse(file.read_text()))}
    assert {"invalid_cursor", "not_ready", "body_too_large", "chat_not_found"} <= found
    assert found - {Refused.code} <= PROBLEMS.keys(), "describe them in chatd/api/errors/codes.py"
    refusals = set(subclasses(Refused))
    assert {refusal.code for refusal in refusals} <= PROBLEMS.keys()
    declared = document()["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]
    assert declared == sorted(PROBLEMS)


def subclasses(error: type[Refused]) -> Iterator[type[Refused]]:
    for refusal in error.__subclasses__():
        if refusal.__module__.startswith("chatd."):
            yield refusal
        yield from subclasses(refusal)


NOT_JSON = {EVENT_STREAM, PLAIN_TEXT, ANY_MEDIA_TYPE}


def bodies() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the schema of every request and response body, with its place."""
    for method, path, operation in operations():
        if "requestBody" in operation:
            for content in operation["requestBody"]["content"].values():
                yield f"the body of {method} {path}", content["schema"]
        for status, answer in operation["responses"].items():
            for media_type, content in answer.get("content", {}).items():
                if int(status) < 400 and media_type not in NOT_JSON:
                    yield f"{method} {path}: {status}", content["schema"]


def test_every_body_and_event_has_an_example() -> None:
    schemas = document()["components"]["schemas"]
    named = {where: schema["$ref"].removeprefix(SCHEMA_REF_PREFIX) for where, schema in bodies()}
    for stream in {"ChatEvent", "ChatListEvent"} & schemas.keys():
        for event in schemas[stream]["oneOf"]:
            named[event["$ref"]] = event["$ref"].removeprefix(SCHEMA_REF_PREFIX)
    assert len(named) > 15
    for where, name in named.items():
        assert schemas[name].get("examples"), f"{where}: give the fields of {name} examples"


def test_every_example_fits_its_schema() -> None:
    schemas = document()["components"]["schemas"]
    for name, schema in schemas.items():
        for example in schema.get("examples", ()):
            assert not mismatches(example, {"$ref": SCHEMA_REF_PREFIX + name}), name


(PROBLEM,) = document()["components"]["schemas"]["Problem"]["examples"]


@pytest.mark.parametrize(
    ("path", "status", "media_type", "body"),
    [
        ("/livez", 418, PROBLEM_JSON, {}),
        ("/livez", 200, PROBLEM_JSON, {"status": "alive"}),
        ("/livez", 200, "application/json", {"status": "asleep"}),
        ("/livez", 200, "application/json", {}),
        ("/api/v1/models", 200, "application/json", {"items": [{"name": "one"}]}),
        ("/api/v1/chats", 422, PROBLEM_JSON, {**PROBLEM, "code": "chat_busy"}),
    ],
)
async def test_undocumented_response_is_noticed(
    path: str, status: int, media_type: str, body: object
) -> None:
    answer = httpx2.Response(
        status,
        headers={"content-type": media_type},
        json=body,
        request=httpx2.Request("GET", f"http://chatd{path}"),
    )
    with pytest.raises(AssertionError):
        await assert_documented(answer)


async def test_documented_response_is_accepted() -> None:
    request = httpx2.Request("GET", "http://chatd/livez")
    await assert_documented(httpx2.Response(200, json={"status": "alive"}, request=request))


def test_every_parameter_of_a_path_is_described() -> None:
    for method, path, operation in operations():
        named = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
        assert named == set(re.findall(r"\{(\w+)\}", path)), (method, path)


def test_last_error_is_required_and_nullable() -> None:
    chat = document()["components"]["schemas"]["Chat"]
    assert set(chat["required"]) == set(chat["properties"])
    assert {"type": "null"} in chat["properties"]["last_error"]["anyOf"]


async def test_document_is_served(chatd: InProcessDaemon) -> None:
    answer = await chatd.api.http.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.json() == document()


async def test_docs_page_needs_no_other_host(chatd: InProcessDaemon) -> None:
    page = await chatd.api.http.get("/docs")
    assert page.status_code == 200
    assert "https://" not in page.text
    assets = re.findall(r"(?:src|href|url)(?:=|: )[\"']([^\"']+)", page.text)
    assert len(assets) == 4, assets
    for asset in assets:
        answer = await chatd.api.http.get(str(page.url.join(asset)))
        assert answer.status_code == 200, asset
        assert answer.content, asset
    gone = await chatd.api.http.get("/docs/assets/../../pyproject.toml")
    assert gone.status_code == 404
