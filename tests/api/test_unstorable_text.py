"""Text that JSON allows and PostgreSQL cannot store: replaced in every field."""

from typing import Any

import pytest
from support.in_process import InProcessDaemon
from support.sse_client import text_of

STORED = {
    r"a\u0000b": "a\ufffdb",
    r"\ud800": "\ufffd",
    r"\udfffx\ud83d": "\ufffdx\ufffd",
    r"\ud83d\ude00": "\N{GRINNING FACE}",
    "\N{GRINNING FACE} \N{COMBINING ACUTE ACCENT}": "\N{GRINNING FACE} \N{COMBINING ACUTE ACCENT}",
    r"\u0001\u001b\u2028\ufeff\uffff": "\x01\x1b\u2028\ufeff\uffff",
}
"""JSON escapes and the text that is stored for them."""

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("as_parts", [False, True])
async def test_unstorable_text_is_replaced_on_create(
    chatd: InProcessDaemon, as_parts: bool
) -> None:
    for escaped, stored in STORED.items():
        content = f'[{{"type": "text", "text": "{escaped}"}}]' if as_parts else f'"{escaped}"'
        body = (
            f'{{"content": {content}, "title": "{escaped}", "system_prompt": "{escaped}",'
            f' "labels": {{"{escaped}": "{escaped}"}}}}'
        )
        answer = await chatd.api.http.post("/api/v1/chats", content=body, headers=JSON)
        assert answer.status_code == 201, (escaped, answer.text)
        chat = answer.json()
        assert (chat["title"], chat["labels"]) == (stored, {stored: stored})
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await chatd.api.texts(chat["id"], "user") == [stored]
        assert await chatd.api.texts(chat["id"], "system") == [stored]
        assert await chatd.api.texts(chat["id"]) == [f"You said: {stored}"]


async def test_unstorable_text_is_replaced_on_update_and_send(chatd: InProcessDaemon) -> None:
    path = f"/api/v1/chats/{(await chatd.api.create())['id']}"

    async def ask(method: str, path: str, body: str) -> dict[str, Any]:
        answer = await chatd.api.http.request(method, path, content=body, headers=JSON)
        assert answer.is_success, (body, answer.text)
        return dict(answer.json())

    for escaped, stored in STORED.items():
        body = f'{{"title": "{escaped}", "labels": {{"{escaped}": "{escaped}"}}}}'
        chat = await ask("PATCH", path, body)
        assert (chat["title"], chat["labels"]) == (stored, {stored: stored})
        sent = await ask("POST", f"{path}/messages", f'{{"content": "{escaped}"}}')
        assert text_of((sent["message"] or sent["queued_message"])["content"]) == stored
    await chatd.api.wait_for_status(chat["id"], "waiting")
    assert sorted(await chatd.api.texts(chat["id"], "user")) == sorted(STORED.values())


async def test_length_is_checked_after_replacement(chatd: InProcessDaemon) -> None:
    title = r"\ud800" * 500
    answer = await chatd.api.http.post(
        "/api/v1/chats", content=f'{{"title": "{title}"}}', headers=JSON
    )
    assert answer.status_code == 201, answer.text
    assert answer.json()["title"] == "\ufffd" * 500
