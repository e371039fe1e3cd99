"""What JSON can spell and the database cannot hold: replaced on the way in, whatever the field."""

from typing import Any

import pytest
from support.in_process import running_daemon
from support.sse_client import text_of

GIVEN = {
    r"a\u0000b": "a\ufffdb",
    r"\ud800": "\ufffd",
    r"\udfffx\ud83d": "\ufffdx\ufffd",
    r"\ud83d\ude00": "\N{GRINNING FACE}",
    "\N{GRINNING FACE} \N{COMBINING ACUTE ACCENT}": "\N{GRINNING FACE} \N{COMBINING ACUTE ACCENT}",
    r"\u0001\u001b\u2028\ufeff\uffff": "\x01\x1b\u2028\ufeff\uffff",
}
"""As JSON spells it, and as it is kept."""

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("as_parts", [False, True])
async def test_unstorable_text_is_replaced_on_create(dsn: str, as_parts: bool) -> None:
    async with running_daemon(dsn) as chatd:
        for spelt, kept in GIVEN.items():
            content = f'[{{"type": "text", "text": "{spelt}"}}]' if as_parts else f'"{spelt}"'
            body = (
                f'{{"content": {content}, "title": "{spelt}", "system_prompt": "{spelt}",'
                f' "labels": {{"{spelt}": "{spelt}"}}}}'
            )
            answer = await chatd.api.http.post("/api/v1/chats", content=body, headers=JSON)
            assert answer.status_code == 201, (spelt, answer.text)
            chat = answer.json()
            assert (chat["title"], chat["labels"]) == (kept, {kept: kept})
            await chatd.api.wait_for_status(chat["id"], "waiting")
            assert await chatd.api.texts(chat["id"], "user") == [kept]
            assert await chatd.api.texts(chat["id"], "system") == [kept]
            assert await chatd.api.texts(chat["id"]) == [f"You said: {kept}"]


async def test_unstorable_text_is_replaced_on_update_and_send(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        path = f"/api/v1/chats/{(await chatd.api.create())['id']}"

        async def ask(method: str, path: str, body: str) -> dict[str, Any]:
            answer = await chatd.api.http.request(method, path, content=body, headers=JSON)
            assert answer.is_success, (body, answer.text)
            return dict(answer.json())

        for spelt, kept in GIVEN.items():
            body = f'{{"title": "{spelt}", "labels": {{"{spelt}": "{spelt}"}}}}'
            chat = await ask("PATCH", path, body)
            assert (chat["title"], chat["labels"]) == (kept, {kept: kept})
            sent = await ask("POST", f"{path}/messages", f'{{"content": "{spelt}"}}')
            assert text_of((sent["message"] or sent["queued_message"])["content"]) == kept
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert sorted(await chatd.api.texts(chat["id"], "user")) == sorted(GIVEN.values())


async def test_length_is_checked_after_replacement(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        title = r"\ud800" * 500
        answer = await chatd.api.http.post(
            "/api/v1/chats", content=f'{{"title": "{title}"}}', headers=JSON
        )
        assert answer.status_code == 201, answer.text
        assert answer.json()["title"] == "\ufffd" * 500
