"""HTTP tools: what is sent, and what the model reads of every kind of response."""

import asyncio
import gzip
from typing import Any
from uuid import UUID

import anyio
import pytest
from support.eventually import eventually
from support.tool_endpoint import Answer, ToolCallRequest, ToolEndpoint, response, tool_endpoint

from chatd.daemon.tools import tools_from_settings
from chatd.settings import Settings
from chatd.tools.http.client import ToolHttpClient
from chatd.tools.output import OutputLimits
from chatd.tools.tool import ToolOutcome

KEY = UUID(int=7)
OUTPUT_BYTES = 1024
OUTPUT = OutputLimits(shown_bytes=OUTPUT_BYTES)


async def call(
    endpoint: ToolEndpoint, args: str = "{}", *, path: str = "/x", **tool: Any
) -> ToolOutcome:
    """Call a tool with this configuration."""
    table = {"description": "A tool.", "url": f"{endpoint.url}{path}", **tool}
    settings = Settings.model_validate({"http_tools": {"t": table}})
    client = ToolHttpClient()
    try:
        registry = tools_from_settings(settings, client)
        return await registry.call("t", args, key=KEY, output=OUTPUT)
    finally:
        await client.aclose()


PLACE = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "deep": {}},
    "required": ["city"],
}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_arguments_of_a_request_without_a_body(method: str) -> None:
    async with tool_endpoint() as endpoint:
        await call(
            endpoint,
            '{"city": "a/b?c", "deep": [1, "x"]}',
            path="/{city}/w",
            method=method,
            parameters=PLACE,
        )
        [request] = endpoint.requests
        assert (request.method, request.body) == (method, b"")
        assert request.target == "/a%2Fb%3Fc/w?deep=%5B1%2C%22x%22%5D"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_arguments_of_a_request_with_a_body(method: str) -> None:
    async with tool_endpoint() as endpoint:
        outcome = await call(
            endpoint,
            '{"city": "Zürich", "deep": {"a": null}}',
            path="/{city}?k=1",
            method=method,
            parameters=PLACE,
            headers={"Authorization": "Bearer abc"},
        )
        [request] = endpoint.requests
        assert request.target == "/Z%C3%BCrich?k=1"
        assert request.json == {"deep": {"a": None}}
        assert request.headers["authorization"] == "Bearer abc"
        assert request.key == str(KEY)
        assert outcome == ToolOutcome(text="done /Z%C3%BCrich?k=1")


def always(answer: bytes) -> Answer:
    async def send(_: ToolCallRequest) -> bytes:
        await asyncio.sleep(0)
        return answer

    return send


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (response("no", status=404), "The endpoint answered 404: no"),
        (response("", status=500), "The endpoint answered 500: "),
        (
            response("", status=302, headers="location: http://10.0.0.1/\r\n"),
            "answered 302: it points",
        ),
        (
            response(gzip.compress(b"x", mtime=0), headers="content-encoding: gzip\r\n"),
            "compressed",
        ),
        (b"garbage\r\n\r\n", "did not answer properly (RemoteProtocolError)"),
        (b"HTTP/1.1 200 X\r\ncontent-length: 5\r\n\r\nx", "did not answer properly"),
        (b"", "did not answer properly"),
    ],
)
async def test_responses_that_are_errors(answer: bytes, text: str) -> None:
    async with tool_endpoint(always(answer), closes=True) as endpoint:
        outcome = await call(endpoint)
        assert outcome.is_error
        assert text in outcome.text


async def test_endpoint_that_is_not_there_was_not_called() -> None:
    async with tool_endpoint() as endpoint:
        pass
    outcome = await call(endpoint)
    expected = "The endpoint could not be reached, so it was not called."
    assert outcome == ToolOutcome(text=expected, is_error=True)


async def test_large_and_broken_output_is_bounded() -> None:
    async with tool_endpoint(always(response(b"\xff\x00" * 2_000_000))) as endpoint:
        outcome = await call(endpoint)
        assert len(outcome.text.encode()) <= 3 * OUTPUT_BYTES
        assert "bytes are missing here" in outcome.text
        assert "\N{REPLACEMENT CHARACTER}" in outcome.text


async def test_cancelled_call_closes_its_connection() -> None:
    async def never(_: ToolCallRequest) -> bytes:
        await asyncio.sleep(3600)
        raise AssertionError

    async with tool_endpoint(never) as endpoint:
        with anyio.move_on_after(30) as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(call, endpoint)
                await endpoint.arrived.wait()
                group.cancel_scope.cancel()
        assert not scope.cancelled_caught
        await eventually(lambda: endpoint.closed == 1)


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"url": "https://{x}/"}, "url"),
        ({"url": "https://example.com/{x}"}, "url"),
        ({"parameters": {"type": "string"}}, "parameters"),
        ({"policy": "sometimes"}, "policy"),
        ({"method": "CONNECT"}, "method"),
        ({"headers": {"Content-Length": "1"}}, "headers"),
    ],
)
def test_mistakes_in_the_configuration_name_their_key(table: dict[str, Any], key: str) -> None:
    whole = {"description": "A tool.", "url": "https://example.com/", **table}
    with pytest.raises(ValueError, match=key):
        Settings.model_validate({"http_tools": {"t": whole}})


async def test_url_argument_that_is_optional_is_a_mistake() -> None:
    table = {
        "description": "A tool.",
        "url": "https://example.com/{city}",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
    with pytest.raises(ValueError, match="must be among the required ones"):
        Settings.model_validate({"http_tools": {"t": table}})
