"""A process that dies between the commit and the answer: who asks again gets the answer, once."""

import asyncio
import signal
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from running import Books, books, client, database_on, fact, started
from wire import wired


async def blocked(found: Books) -> bool:
    """Whether a statement waits for a lock."""
    return bool(
        await found.one(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    )


@pytest.mark.parametrize("what", ["create", "send", "edit"])
async def test_killed_between_commit_and_answer(tmp_path: Path, far_server: str, what: str) -> None:
    """The statement is with the database when the wire goes dead; so it is done, and nobody knows."""
    async with database_on(far_server) as dsn, wired(dsn) as (wire, near), books(dsn) as found:
        with started(tmp_path, near, name="first") as first:
            await first.ready()
            async with client(first) as api:
                chat = await api.create("hello")
                await api.until(chat["id"], "waiting")
                said = (await api.messages(chat["id"]))[0]["id"]
            method, path, body = {
                "create": ("POST", "/api/v1/chats", {"content": "more"}),
                "send": ("POST", f"/api/v1/chats/{chat['id']}/messages", {"content": "more"}),
                "edit": (
                    "PATCH",
                    f"/api/v1/chats/{chat['id']}/messages/{said}",
                    {"content": "more"},
                ),
            }[what]
            key = {"idempotency-key": str(uuid4())}

            async def ask(process: Any) -> Any:
                async with client(process) as api:
                    return await api.http.request(method, path, json=body, headers=key)

            async with books(dsn) as hand:
                await hand.one("BEGIN")
                await hand.one(
                    "INSERT INTO idempotency_keys (owner_id, key, fingerprint, chat_id)"
                    " VALUES ('local', $1, '', gen_random_uuid())",
                    key["idempotency-key"],
                )  # nobody knows yet whether it will be there, so the same key has to wait
                asked = asyncio.create_task(ask(first))
                await fact(lambda: blocked(found))
                wire.die()
                await hand.one("ROLLBACK")
            kept = "SELECT count(*) FROM idempotency_keys"
            assert await fact(lambda: found.one(kept)) == 1, "it was done"
            first.send(signal.SIGKILL)
            await first.ended()
            with pytest.raises(httpx2.TransportError):
                await asked

        with started(tmp_path, dsn, name="second") as second:
            await second.ready()
            answers = [await ask(second) for _ in range(2)]
            assert answers[0].content == answers[1].content
            assert answers[0].status_code == {"create": 201, "send": 202, "edit": 200}[what]
            async with client(second) as api:
                made = answers[0].json()
                chat_id = made["id"] if what == "create" else chat["id"]
                await api.until(chat_id, "waiting")
                texts = await api.texts(chat_id, "user")
                assert (
                    texts == {"create": ["more"], "send": ["hello", "more"], "edit": ["more"]}[what]
                )
            chats = await found.one("SELECT count(*) FROM chats")
            assert chats == (2 if what == "create" else 1)
