"""Images of tools: from a server's result to a file of the chat, and to the model."""

import base64
import json
from pathlib import Path
from typing import Any

from support.client_tools import calling_provider
from support.files import whole_png
from support.in_process import InProcessDaemon, fetch_rows, running_daemon
from support.mcp_servers import program_settings
from support.providers import FunctionProvider, tool_call_delta
from support.tool_endpoint import ToolCallRequest, response, tool_endpoint, tools

from chatd.domain.message import Role
from chatd.store.database import Database

PNG = whole_png(3000)
CONTENT = json.dumps(
    {
        "content": [
            {"type": "text", "text": "A chart."},
            {"type": "image", "data": base64.b64encode(PNG).decode(), "mimeType": "image/png"},
        ]
    }
)


async def result_of(chatd: InProcessDaemon) -> tuple[dict[str, Any], str]:
    """Run a turn. Return the result of its tool, and the chat."""
    chat = await chatd.api.create("go")
    await chatd.api.wait_for_status(chat["id"], "waiting")
    [part] = [
        part
        for message in await chatd.api.messages(chat["id"])
        for part in message["content"]
        if part["type"] == "tool-result"
    ]
    return part, chat["id"]


def seen_by_model(provider: FunctionProvider) -> list[Any]:
    [message] = [each for each in provider.requests[-1].messages if each.role is Role.TOOL]
    return list(message.content[0].get("files", []))


async def test_image_of_a_server_is_a_file_of_the_chat(
    dsn: str, database: Database, tmp_path: Path
) -> None:
    provider = calling_provider([tool_call_delta("srv__content", "c1", CONTENT)])
    mcp = {"srv": program_settings("none", tmp_path)}
    async with running_daemon(dsn, provider, mcp=mcp) as chatd:
        part, chat_id = await result_of(chatd)
        assert part["result"] == "A chart.\n[image 1 of type image/png: 3000 bytes]"
        [file] = part["files"]
        assert (file["media_type"], file["size"], file["name"]) == ("image/png", 3000, None)
        answer = await chatd.api.http.get(file["url"])
        assert answer.content == PNG
        assert [each["file_id"] for each in seen_by_model(provider)] == [file["file_id"]]
        [row] = await fetch_rows(database, "SELECT stored_bytes FROM chats")
        assert row["stored_bytes"] > 3000
        other = await chatd.api.create()
        url = file["url"].replace(chat_id, other["id"])
        assert (await chatd.api.http.get(url)).status_code == 404


async def test_endpoint_may_answer_with_an_image(dsn: str) -> None:
    answers = [PNG, PNG[:-20], b"x" * (8 * 1024 * 1024 + 1)]

    async def answer(_: ToolCallRequest) -> bytes:
        return response(answers.pop(0), headers="content-type: image/png\r\n")

    provider = calling_provider([tool_call_delta("pay", "c1")])
    async with (
        tool_endpoint(answer) as endpoint,
        running_daemon(dsn, provider, **tools(endpoint)) as chatd,
    ):
        part, _ = await result_of(chatd)
        assert part["result"] == "[image 1 of type image/png: 3000 bytes]"
        assert len(part["files"]) == 1
        for words in ("an image that cannot be shown", "an image of more than 8388608 bytes"):
            part, _ = await result_of(chatd)
            assert (part["result"], part["is_error"]) == (
                f"The endpoint answered with {words}.",
                True,
            )
            assert "files" not in part
