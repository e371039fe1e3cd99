"""Ids of messages: they rise within a chat, and tell nothing about other chats."""

from typing import Any

from support.auth import AuthenticatedDaemons, Bearer, authenticated_daemons, create_chat_as
from support.eventually import eventually
from support.providers import scripted


async def ids_of_a_chat(at: AuthenticatedDaemons, who: Bearer) -> dict[str, list[int]]:
    """Have a chat store an answer and queue two messages. Return the ids that its owner is told."""
    chat = await create_chat_as(at.chatd, who, content="[[hang]] hello", system_prompt="be brief")
    path, http = f"/api/v1/chats/{chat['id']}", at.chatd.api.http

    async def status() -> str:
        return str((await http.get(path, headers=who)).json()["status"])

    async def has(expected: str) -> bool:
        return await status() == expected

    await eventually(lambda: has("running"))
    sent = [
        (await http.post(f"{path}/messages", json={"content": "more"}, headers=who)).json()
        for _ in range(2)
    ]
    queued = [one["queued_message"]["id"] for one in sent]
    await http.post(f"{path}/interrupt", headers=who)
    await eventually(lambda: has("waiting"))

    async def items(name: str) -> list[dict[str, Any]]:
        return list((await http.get(f"{path}/{name}", headers=who)).json()["items"])

    messages = [message["id"] for message in await items("messages")]
    assert messages == sorted(messages)
    assert queued == sorted(queued)
    assert len(messages) == len(set(messages)) > 4
    return {"messages": messages, "queued": queued}


async def test_ids_of_two_owners_tell_nothing_about_each_other(dsn: str) -> None:
    async with authenticated_daemons(dsn, scripted(hang=[{"hang": True}])) as at:
        ann, bob = await at.new_caller_headers("ann"), await at.new_caller_headers("bob")
        first = await ids_of_a_chat(at, ann)
        for _ in range(3):
            await create_chat_as(at.chatd, bob, content="hello")
        assert await ids_of_a_chat(at, ann) == first, "what others do moves no id"
        assert await ids_of_a_chat(at, bob) == first
