"""MCP tools that need the input of a person: what is asked, and what the server gets back."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.mcp_program import FORM, SECRET
from support.mcp_servers import config as server_config
from support.mcp_servers import program, running, running_program

from chatd.tools.mcp.input_requests import MAX_MESSAGE_LENGTH, MAX_STATE_BYTES
from chatd.tools.mcp.input_schema import MAX_FORM_BYTES
from chatd.tools.mcp.server import McpServer
from chatd.tools.tool import GivenInput, InputNeeded, ToolOutcome

UNSUPPORTED = "The tool asks for input in a way that this server does not support: "


def calls(folder: Path) -> list[dict[str, Any]]:
    """Return the calls that the program got."""
    return [json.loads(line) for line in (folder / "calls").read_text().splitlines()]


async def ask(server: McpServer, given: GivenInput | None = None, **args: Any) -> ToolOutcome:
    return await server.call("ask", args, seconds=20, given=given)


def answered(outcome: ToolOutcome, content: Any, decision: str = "accept") -> GivenInput:
    assert outcome.needs is not None, outcome
    return GivenInput(continuation=outcome.needs.continuation, decision=decision, content=content)


def form(schema: Any = FORM, message: str = "Which?") -> dict[str, Any]:
    params = {"message": message, "requestedSchema": schema, "mode": "form"}
    return {"method": "elicitation/create", "params": params}


def asking(**requests: Any) -> dict[str, Any]:
    return {"inputRequests": requests, "requestState": '{"asked": 1}'}


async def test_call_goes_on_with_the_answer_on_another_connection(tmp_path: Path) -> None:
    async with running_program("stateless", tmp_path) as server:
        outcome = await ask(server, x=1)
        assert outcome.needs is not None
        question = outcome.needs.question
        assert (question.kind, question.message) == ("input", "When? 0")
        assert question.schema == {**FORM, "additionalProperties": False}
    async with running_program("stateless", tmp_path) as other:
        given = answered(outcome, {"date": "May", "seats": 2})
        result = await ask(other, given, x=1)
        assert json.loads(result.text) == {
            "k0": {"action": "accept", "content": {"date": "May", "seats": 2}}
        }
    first, second = calls(tmp_path)
    assert (first["given"], first["state"]) == (None, None)
    assert json.loads(second["state"]) == {"asked": 1, "secret": SECRET}, "as it was, every byte"
    assert second["args"] == {"x": 1}


@pytest.mark.parametrize("decision", ["decline", "cancel"])
async def test_server_learns_that_nobody_answered(decision: str, tmp_path: Path) -> None:
    async with running_program("stateless", tmp_path) as server:
        given = answered(await ask(server), None, decision)
        assert json.loads((await ask(server, given)).text) == {"k0": {"action": decision}}


async def test_several_forms_are_one_question(tmp_path: Path) -> None:
    async with running_program("stateless", tmp_path) as server:
        outcome = await ask(server, result=asking(b=form(message="B?"), a=form(message="A?")))
        assert outcome.needs is not None
        assert outcome.needs.question.message == "1. B?\n2. A?"
        schema = outcome.needs.question.schema
        assert schema is not None
        assert schema["required"] == ["1", "2"]
        assert schema["properties"]["2"]["properties"] == FORM["properties"]
        given = answered(outcome, {"1": {"date": "one"}, "2": {"date": "two"}})
        result = json.loads((await ask(server, given)).text)
        assert [result[key]["content"]["date"] for key in "ba"] == ["one", "two"]


async def test_forms_are_offered_only_where_they_hold_nothing(tmp_path: Path) -> None:
    async with running_program("stateless", tmp_path) as server:
        assert (await server.tools()).tools
    offered = json.loads((tmp_path / "capabilities").read_text())
    assert offered == {"elicitation": {"form": {}}}
    async with running_program("asks without a handshake", tmp_path) as server:
        outcome = await ask(server)
    assert json.loads((tmp_path / "capabilities").read_text()) == {}
    assert outcome.is_error
    assert outcome.needs is None


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (asking(k={"method": "roots/list"}), "it asks for something else than a form"),
        (
            asking(
                k={
                    "method": "elicitation/create",
                    "params": {"mode": "url", "message": "m", "url": "https://a.example"},
                }
            ),
            "it sends the person to an address",
        ),
        (
            asking(k=form({"type": "object", "properties": {"a": {"type": "object"}}})),
            "its form has a field of a type that is not known here",
        ),
        (
            asking(k=form({"type": "object", "properties": {"a": {"$ref": "#"}}})),
            "its form has a field of a type that is not known here",
        ),
        (
            asking(
                k=form(
                    {"type": "object", "properties": {"a": {"type": "string", "minLength": "x"}}}
                )
            ),
            "its form is no JSON schema",
        ),
        (
            asking(
                k=form(
                    {
                        "type": "object",
                        "properties": {
                            "a": {"type": "string", "description": "x" * MAX_FORM_BYTES}
                        },
                    }
                )
            ),
            "its form has more than 16 KiB",
        ),
        (
            asking(
                k=form(
                    {
                        "type": "object",
                        "properties": {f"p{n}": {"type": "string"} for n in range(5000)},
                    }
                )
            ),
            "its form has no fields, or too many",
        ),
        (
            asking(k=form({"type": "object", "properties": {"a\x00": {"type": "string"}}})),
            "its form has characters that cannot be stored",
        ),
        (
            {**asking(k=form()), "requestState": "x" * MAX_STATE_BYTES},
            "its state has more than 64 KiB",
        ),
        (
            asking(**{f"k{n}": form() for n in range(9)}),
            "it has more than 8 requests, or keys that are too long",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_cannot_be_asked_is_an_error_in_words(
    result: dict[str, Any], reason: str
) -> None:
    async with running_program("stateless") as server:
        outcome = await ask(server, result=result)
    assert outcome == ToolOutcome(
        text=f"{UNSUPPORTED}{reason}. It may have had effects.", is_error=True
    )


async def test_text_for_the_person_is_cut_and_choices_are_kept() -> None:
    choices = {
        "one": {"type": "string", "oneOf": [{"const": "a", "title": "A"}]},
        "some": {"type": "array", "items": {"enum": ["b", "c"], "type": "string"}, "maxItems": 1},
        "named": {"type": "array", "items": {"anyOf": [{"const": "d", "title": "D"}]}},
        "yes": {"type": "boolean", "default": True, "pattern": "(a+)+$"},
    }
    result = asking(k=form({"type": "object", "properties": choices}, "x" * 10_000))
    async with running_program("stateless") as server:
        outcome = await ask(server, result=result)
    assert isinstance(outcome.needs, InputNeeded)
    question = outcome.needs.question
    assert question.message is not None
    assert len(question.message) == MAX_MESSAGE_LENGTH
    assert question.schema is not None
    shown = question.schema["properties"]
    assert shown["yes"] == {"type": "boolean", "default": True}, "a pattern is never evaluated"
    assert {**shown, "yes": choices["yes"]} == choices


async def test_server_that_only_wants_to_be_called_again_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatd.tools.mcp.sdk._REPEAT_SECONDS", 0.001)
    async with running_program("stateless", tmp_path) as server:
        outcome = await ask(server, result={"requestState": '{"asked": 1}'})
        assert outcome.text == "null", "it got no response to what it never asked"
        for_ever = {"requestState": '{"asked": 0}'}
        outcome = await ask(server, result=for_ever)
    assert outcome.is_error
    assert "again and again" in outcome.text
    assert len(calls(tmp_path)) == 2 + 7


async def test_identity_of_a_server_outlives_its_keys_and_not_its_place(tmp_path: Path) -> None:
    one = server_config(program("stateless", tmp_path, KEY="old"))
    assert one.identity == server_config(program("stateless", tmp_path, KEY="new")).identity
    assert one.identity != server_config(program("stateless")).identity
    assert one.identity != server_config(program("stateless", tmp_path), name="b").identity
    async with running(McpServer(one)) as server:
        assert (await ask(server)).needs is not None
