"""Tools and results of MCP servers, as models and people see them."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.files import whole_png

from chatd.tools.mcp.config import McpServerConfig, StdioEndpoint
from chatd.tools.mcp.listing import MAX_SCHEMA_DEPTH, ListedTool, tool_list
from chatd.tools.mcp.names import MAX_NAME_LENGTH, offered_names
from chatd.tools.mcp.results import to_result
from chatd.tools.tool import MAX_FILES

OBJECT: dict[str, Any] = {"type": "object"}


def config(**values: Any) -> McpServerConfig:
    return McpServerConfig(name="srv", endpoint=StdioEndpoint(command="x"), **values)


def listed(*names: str, parameters: Any = None) -> list[ListedTool]:
    return [
        ListedTool(name=name, description="does", parameters=parameters or OBJECT) for name in names
    ]


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return {"type": "object", **schema}


@given(st.lists(st.text(max_size=100), max_size=10))
def test_every_tool_has_one_name_that_providers_take(tools: list[str]) -> None:
    names = offered_names("srv", tools)
    assert sorted(names.values()) == sorted(set(tools))
    assert all(len(name) <= MAX_NAME_LENGTH for name in names)
    assert all(name.replace("_", "").replace("-", "").isascii() for name in names)
    assert all(name.replace("_", "a").replace("-", "a").isalnum() for name in names)
    assert names == offered_names("srv", reversed(tools))


def test_name_is_that_of_the_tool_after_that_of_the_server() -> None:
    assert offered_names("srv", ["read-file"]) == {"srv__read-file": "read-file"}


def test_name_that_does_not_fit_ends_with_a_hash_and_takes_no_others_name() -> None:
    names = offered_names("srv", ["a.b", "a/b", "a_b", "x" * 70])
    assert names.pop("srv__a_b") == "a_b"
    assert sorted(names.values()) == ["a.b", "a/b", "x" * 70]
    assert all(name.startswith(("srv__a_b_", "srv__xxx")) for name in names)


def test_tools_come_in_the_order_of_their_names_and_up_to_their_number() -> None:
    tools = tool_list(config(max_tools=2), listed("c", "a", "b"))
    assert [tool.offered_name for tool in tools.tools] == ["srv__a", "srv__b"]
    assert tools.notices == [
        (
            "MCP server srv has 3 tools, of which the first 2 are offered: choose with mcp.srv.tools, "
            "or raise max_tools"
        )
    ]


def test_operator_chooses_tools_by_pattern_and_says_which_may_run_again() -> None:
    values = {"tools": ("read_*", "list"), "idempotent": ("read_*",)}
    tools = tool_list(config(**values), listed("read_file", "list", "write_file"))
    assert [(tool.name, tool.idempotent) for tool in tools.tools] == [
        ("list", False),
        ("read_file", True),
    ]
    assert not tools.notices


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"description": "x" * 1_000_000}}},
        nested(MAX_SCHEMA_DEPTH + 1),
        nested(5000),
        {"type": "array"},
    ],
    ids=["of 1 MB", "one level too deep", "very deep", "of a list"],
)
def test_tool_with_a_schema_that_does_not_fit_is_named_and_not_offered(schema: Any) -> None:
    tools = tool_list(config(), [*listed("good"), *listed("bad", parameters=schema)])
    assert [tool.name for tool in tools.tools] == ["good"]
    (notice,) = tools.notices
    assert notice.startswith("'bad' of MCP server srv cannot be offered: the schema")
    assert len(notice) < 500


def test_many_unfit_tools_are_counted_rather_than_named() -> None:
    names = [f"{n}{'x' * 200}" for n in range(10_000)]
    (notice,) = tool_list(config(), listed(*names, parameters={"type": "array"})).notices
    assert "and 9995 other tools" in notice
    assert len(notice) < 1000


def test_text_that_cannot_be_stored_is_replaced() -> None:
    parameters = {"type": "object", "properties": {"a\0": {"description": "\ud800"}}}
    (tool,) = tool_list(
        config(), [ListedTool(name="a", description="\0", parameters=parameters)]
    ).tools
    json.dumps([tool.description, tool.parameters], ensure_ascii=False).encode()
    assert "\0" not in json.dumps([tool.description, tool.parameters], ensure_ascii=False)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "a\nb"),
        (
            {"content": [{"type": "image", "data": "AAAA", "mimeType": "image/png"}]},
            "[image of type image/png: 3 bytes, which cannot be shown]",
        ),
        (
            {"content": [{"type": "image", "data": "no base64!", "mimeType": "image/png"}]},
            "[image of type image/png: 7 bytes, which cannot be shown]",
        ),
        (
            {"content": [{"type": "audio", "data": "AAAA", "mimeType": "audio/wav"}]},
            "[audio of type audio/wav: 3 bytes, not shown]",
        ),
        (
            {"content": [{"type": "resource_link", "uri": "file:///a", "name": "a"}]},
            "[resource a: file:///a]",
        ),
        (
            {"content": [{"type": "resource", "resource": {"uri": "file:///a", "text": "b"}}]},
            "b",
        ),
        (
            {"content": [{"type": "resource", "resource": {"uri": "file:///a", "blob": "AAAA"}}]},
            "[resource file:///a: 3 bytes, not shown]",
        ),
        (
            {"content": [{"type": "hologram", "x": 1}]},
            "[a part of kind hologram, which this server does not know]",
        ),
        ({"content": [], "structuredContent": {"a": 1}}, '{"a":1}'),
        (
            {"content": [{"type": "text", "text": '{"a": 1}'}], "structuredContent": {"a": 1}},
            '{"a": 1}',
        ),
        (
            {"content": [{"type": "text", "text": "b"}], "structuredContent": {"result": "b"}},
            "b",
        ),
        ({"content": [{"type": "text", "text": "\0\ud800"}]}, "\ufffd\ufffd"),
        ({"content": "no list"}, ""),
        ({"content": [None, 1, {}]}, "\n".join(["[a part without a kind]"] * 3)),
    ],
)
def test_result_is_text(raw: dict[str, Any], text: str) -> None:
    result = to_result(raw)
    assert (result.text, result.is_error, result.files) == (text, False, [])


def test_images_are_files_of_what_their_bytes_say() -> None:
    data = base64.b64encode(whole_png()).decode()
    blob = {"uri": "file:///a", "mimeType": "image/png", "blob": data}
    parts = [
        {"type": "image", "data": data, "mimeType": "image/jpeg"},
        {"type": "text", "text": "and"},
        {"type": "resource", "resource": blob},
    ]
    result = to_result({"content": parts})
    size = len(whole_png())
    image = f"of type image/png: {size} bytes]"
    assert result.text == f"[image 1 {image}\nand\n[image 2 {image}"
    assert [(file.media_type, file.data) for file in result.files] == [
        ("image/png", whole_png()),
        ("image/png", whole_png()),
    ]
    result = to_result({"content": parts[:1] * 100})
    assert len(result.files) == MAX_FILES
    assert result.text.count("one of too many") == 100 - MAX_FILES


def test_result_of_very_many_parts_is_cut_in_words() -> None:
    text = to_result({"content": [{"type": "text", "text": "a"}] * 5000}).text
    assert text.endswith("a\n[4000 more parts are not shown]")


def test_question_to_a_person_is_an_error_in_words() -> None:
    result = to_result({"resultType": "input_required", "requestState": "secret"})
    assert result.is_error
    assert result.text == (
        "The tool asks for the input of a person, which this server does not support."
    )
