"""Files of messages: stored once and apart, referred to by messages, and served safely."""

import json
from typing import Any

import pytest
from support.files import PNG, file_input
from support.in_process import InProcessDaemon, running_daemon
from support.providers import FunctionProvider, finished, text_delta
from support.requests import assert_problem
from support.sse_client import ApiClient

from chatd.domain.files import PIECE_BYTES
from chatd.llm.provider import ModelRequest, PartDelta
from chatd.store.database import Database

LARGE = PNG + bytes(range(256)) * (PIECE_BYTES // 200)
"""An image that is read in several pieces."""


async def stored_file(chatd: InProcessDaemon, *parts: dict[str, Any]) -> dict[str, Any]:
    """Send the parts as the first message of a chat. Return the reference of the first."""
    chat = await chatd.api.create(content=list(parts))
    return dict((await chatd.api.messages(chat["id"]))[0]["content"][0])


async def test_file_is_served_as_it_was_sent(chatd: InProcessDaemon) -> None:
    file = await stored_file(chatd, file_input("image/png", LARGE, name="sky.png"))
    assert file.keys() == {"type", "file_id", "media_type", "name", "size", "url"}
    assert (file["name"], file["size"]) == ("sky.png", len(LARGE))
    answer = await chatd.api.http.get(file["url"])
    assert answer.status_code == 200
    assert answer.content == LARGE
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == "inline"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    for matching in (answer.headers["etag"], f'"x", W/{answer.headers["etag"]}', "*"):
        again = await chatd.api.http.get(file["url"], headers={"if-none-match": matching})
        assert (again.status_code, again.content) == (304, b"")
    other = await chatd.api.http.get(file["url"], headers={"if-none-match": '"other"'})
    assert other.content == LARGE


@pytest.mark.parametrize(
    ("media_type", "served"),
    [
        ("text/html", "text/html"),
        ("image/svg+xml", "image/svg+xml"),
        ("text/plain; charset=latin-1", "text/plain; charset=latin-1"),
        ("application/pdf", "application/pdf"),
        ("text/html\r\nset-cookie: a=b", "application/octet-stream"),
        ("text", "application/octet-stream"),
        ("image/png, text/html", "application/octet-stream"),
        ("\u00e4/\u00f6", "application/octet-stream"),
    ],
)
async def test_browser_saves_what_is_no_image(
    media_type: str, served: str, chatd: InProcessDaemon
) -> None:
    file = await stored_file(chatd, file_input(media_type, b"<script>alert(1)</script>"))
    answer = await chatd.api.http.get(file["url"])
    assert answer.headers["content-type"] == served
    assert answer.headers["content-disposition"] == "attachment"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert "set-cookie" not in answer.headers


async def test_image_has_the_type_of_its_bytes(chatd: InProcessDaemon) -> None:
    file = await stored_file(chatd, file_input("image/png", b"\xff\xd8\xff\xe0 JPEG"))
    assert file["media_type"] == "image/jpeg"
    assert (await chatd.api.http.get(file["url"])).headers["content-type"] == "image/jpeg"


async def test_only_the_owner_is_served(chatd: InProcessDaemon, shared: Any) -> None:
    file = await stored_file(chatd, file_input("image/png", PNG))
    async with shared.as_new_owner() as stranger:
        assert_problem(await stranger.api.http.get(file["url"]), 404, "chat_not_found")
    other = await chatd.api.create()
    url = f"/api/v1/chats/{other['id']}/files/{file['file_id']}"
    for known in ({}, {"if-none-match": "*"}):
        answer = await chatd.api.http.get(url, headers=known)
        assert_problem(answer, 404, "file_not_found")
    assert (await chatd.api.http.get(file["url"])).content == PNG


def check_no_bytes(text: str, sent: dict[str, Any]) -> None:
    """Check that what the API answers has no file in it."""
    assert sent["data"][:100] not in text
    assert len(text) < 10_000


async def test_reads_refer_to_files_and_do_not_hold_them(dsn: str) -> None:
    image = file_input("image/png", LARGE)
    async with running_daemon(dsn, worker={"enabled": False}) as chatd:
        http = chatd.api.http
        created = await http.post("/api/v1/chats", json={"content": [image]})
        url = f"/api/v1/chats/{created.json()['id']}"
        sent = await http.post(f"{url}/messages", json={"content": [image]})
        assert sent.json()["queued_message"]["content"][0]["url"].startswith(f"{url}/files/")
        [message] = (await http.get(f"{url}/messages")).json()["items"]
        edited = await http.patch(
            f"{url}/messages/{message['id']}",
            json={"content": [image]},
            headers={"idempotency-key": "k"},
        )
        await http.post(f"{url}/messages", json={"content": [image]})
        answers = [created, sent, edited]
        answers += [await http.get(f"{url}{page}") for page in ("/messages", "/queue", "/events")]
        for answer in answers:
            assert answer.is_success
            check_no_bytes(answer.text, image)
        async for event in chatd.api.stream(created.json()["id"]):
            assert event.data["messages"][0]["content"][0]["size"] == len(LARGE)
            check_no_bytes(json.dumps(event.data), image)
            break


async def test_same_file_is_stored_once_and_deleted_with_its_chat(
    dsn: str, database: Database
) -> None:
    async def stored() -> list[int]:
        rows = await database.fetch("SELECT size FROM chat_files ORDER BY size")
        return [row["size"] for row in rows]

    image, longer = file_input("image/png", PNG), file_input("image/png", PNG + b"!")
    async with running_daemon(dsn) as chatd:
        chat = await chatd.api.create(content=[image, image, longer])
        for _ in range(2):
            await chatd.api.wait_for_status(chat["id"], "waiting")
            await chatd.api.send(chat["id"], [image])  # type: ignore[arg-type]
        assert await stored() == [8, 9]
        assert len({part["file_id"] for part in await contents(chatd.api, chat["id"])}) == 2
        other = await chatd.api.create(content=[image])
        renamed = await chatd.api.create(content=[image, {**image, "name": "x"}])
        assert await stored() == [8, 8, 8, 8, 9]
        for gone in (chat, other):
            await chatd.api.http.delete(f"/api/v1/chats/{gone['id']}")
        assert await stored() == [8, 8]
        await chatd.api.http.delete(f"/api/v1/chats/{renamed['id']}")
        assert await stored() == []


async def test_content_that_was_read_can_be_sent_again(chatd: InProcessDaemon) -> None:
    """So that a client can edit the text of a message, and keep its files."""
    chat = await chatd.api.create(content=[file_input("image/png", LARGE, name="sky.png")])
    await chatd.api.wait_for_status(chat["id"], "waiting")
    [message, _] = await chatd.api.messages(chat["id"])
    [file] = message["content"]
    content = [{"type": "text", "text": "What is this?"}, file]
    edited = await chatd.api.edit(chat["id"], message["id"], content)  # type: ignore[arg-type]
    assert edited["content"] == content
    await chatd.api.wait_for_status(chat["id"], "waiting")
    alone = {"type": "file", "file_id": file["file_id"]}
    lying = {**alone, "media_type": "text/html", "name": "x", "size": 1, "url": "/"}
    sent = await chatd.api.send(chat["id"], [alone, lying])  # type: ignore[arg-type]
    assert sent["message"]["content"] == [file, file]

    other = await chatd.api.create()
    url = f"/api/v1/chats/{other['id']}/messages"
    first = await chatd.api.send(other["id"], "hello")
    for method, path in (("POST", url), ("PATCH", f"{url}/{first['message']['id']}")):
        answer = await chatd.api.http.request(method, path, json={"content": [file]})
        assert_problem(answer, 404, "file_not_found", file["file_id"])
    answer = await chatd.api.http.post("/api/v1/chats", json={"content": [file]})
    assert_problem(answer, 404, "file_not_found", "Send the data")
    nowhere = await chatd.api.http.post(
        f"/api/v1/chats/{file['file_id']}/messages", json={"content": [file]}
    )
    assert_problem(nowhere, 404, "chat_not_found")


async def contents(api: ApiClient, chat_id: str) -> list[dict[str, Any]]:
    """Return the file parts of a chat's messages."""
    parts = [part for message in await api.messages(chat_id) for part in message["content"]]
    return [part for part in parts if part["type"] == "file"]


async def test_file_that_the_model_makes_is_stored_and_streamed_as_a_reference(dsn: str) -> None:
    async def draw(_: ModelRequest) -> Any:
        yield text_delta("Here: ")
        yield PartDelta({"index": 1, "type": "file", "media_type": "image/png", "data": LARGE})
        yield finished()

    provider: FunctionProvider = FunctionProvider(draw)
    async with running_daemon(dsn, provider) as chatd:
        chat = await chatd.api.create("draw")
        parts: list[dict[str, Any]] = []
        async for event in chatd.api.stream(chat["id"]):
            match event.event:
                case "snapshot":
                    parts += event.data["parts"]
                case "message_part":
                    parts.append(event.data)
            if event.event == "status" and event.data["status"] == "waiting":
                break
            if event.event == "snapshot" and event.data["chat"]["status"] == "waiting":
                break
        [file] = await contents(chatd.api, chat["id"])
        assert (await chatd.api.http.get(file["url"])).content == LARGE
        url = file.pop("url")
        assert url.endswith(file["file_id"])
        assert [part for part in parts if part["type"] == "file"] in ([], [{**file, "index": 1}])
        assert (await chatd.api.chat(chat["id"]))["stored_bytes"] > len(LARGE)
