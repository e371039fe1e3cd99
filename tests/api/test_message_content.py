"""The content of a message is checked before it is stored: what no provider would take is refused."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.in_process import InProcessDaemon, running_daemon
from support.providers import FunctionProvider, finished, text_delta
from support.requests import assert_problem

from chatd.domain.message import Part
from chatd.llm.errors import UnsupportedContent
from chatd.llm.provider import Delta, ModelRequest
from chatd.llm.vendors.files import refusal

IMAGE = {"type": "file", "media_type": "image/png", "data": "aGVsbG8="}
VIDEO = {"type": "file", "media_type": "video/mp4", "data": "aGVsbG8="}
TABLE = {
    "type": "file",
    "media_type": "text/csv; charset=latin-1",
    "data": base64.b64encode("a;\u00fc".encode("latin-1")).decode(),
}


def text(value: str) -> dict[str, str]:
    return {"type": "text", "text": value}


async def answer(request: ModelRequest) -> AsyncIterator[Delta]:
    """Answer as a provider does that takes no video, also if one got through to it."""
    if any(part.get("media_type") == "video/mp4" for part in request.messages[-1].content):
        raise UnsupportedContent("Part 2 of the message is a file of type video/mp4.")
    yield text_delta("Hello.")
    yield finished()


def takes_images_only(part: Part) -> str | None:
    return refusal(part, file_types={"image/png": 10})


async def in_every_place(chatd: InProcessDaemon, content: Any) -> list[Any]:
    """Return the responses of all operations that take content: create, send, edit, and to the queue."""
    chat = await chatd.api.create(content="Hi.")
    await chatd.api.wait_for_status(chat["id"], "waiting")
    [message, _] = await chatd.api.messages(chat["id"])
    url = f"/api/v1/chats/{chat['id']}/messages"
    http = chatd.api.http
    return [
        await http.post("/api/v1/chats", json={"content": content}),
        await http.post(url, json={"content": content}),
        await http.post(url, json={"content": content, "busy_behavior": "queue"}),
        await http.patch(f"{url}/{message['id']}", json={"content": content}),
    ]


@pytest.mark.parametrize("content", [" ", "\n\t", "\u00a0", [text(" ")], [text("\n"), text(" ")]])
async def test_white_space_alone_is_refused(chatd: InProcessDaemon, content: Any) -> None:
    for response in await in_every_place(chatd, content):
        assert_problem(response, 422, "invalid_request", "white space alone")


@pytest.mark.parametrize("content", [" x ", [text(" "), text("x")], [text(" "), IMAGE]])
async def test_white_space_beside_something_is_accepted(
    chatd: InProcessDaemon, content: Any
) -> None:
    for response in await in_every_place(chatd, content):
        assert response.status_code in {200, 201, 202}


async def test_file_that_the_provider_does_not_take_is_refused(dsn: str) -> None:
    provider = FunctionProvider(answer, refuse_file=takes_images_only)
    async with running_daemon(dsn, provider) as chatd:
        for response in await in_every_place(chatd, [text("Look."), VIDEO]):
            problem = assert_problem(response, 422, "unsupported_file", "video/mp4")
            assert [error["where"] for error in problem["errors"]] == ["body.content.1"]
        for content in ([text("Look."), IMAGE], [TABLE]):
            for response in await in_every_place(chatd, content):
                assert response.status_code in {200, 201, 202}


async def test_message_after_a_file_that_got_through_is_answered(dsn: str) -> None:
    """The file was sent while another model was configured, for which the provider took it."""
    async with running_daemon(dsn, FunctionProvider(answer)) as chatd:
        chat = await chatd.api.create(content=[text("Look."), VIDEO])
        failed = await chatd.api.wait_for_status(chat["id"], "error")
        assert failed["last_error_detail"]["kind"] == "invalid_request"
        assert "video/mp4" in failed["last_error"]
        await chatd.api.send(chat["id"], "Never mind.")
        await chatd.api.wait_for_status(chat["id"], "waiting")
