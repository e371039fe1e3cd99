"""Explanations for owners: codes and facts of their own chat, and nothing about the fleet or others."""

import socket
from typing import Any

from support.auth import AuthenticatedDaemons, Bearer, authenticated_daemons, create_chat_as, get_as
from support.eventually import eventually
from support.providers import scripted

from chatd import __version__
from chatd.domain.access_scope import AccessScope

OFTEN = {"heartbeat_seconds": 0.1, "lease_seconds": 60, "max_chats": 1}


async def explained(at: AuthenticatedDaemons, chat_id: str, who: Bearer) -> dict[str, Any]:
    answer = await get_as(at.chatd, f"/api/v1/chats/{chat_id}/explain", who)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def code(explanation: dict[str, Any]) -> str:
    return str(explanation["reasons"][0]["code"])


async def test_owner_is_told_nothing_of_workers_and_others(dsn: str) -> None:
    async with authenticated_daemons(dsn, scripted(hang=[{"hang": True}]), worker=OFTEN) as at:
        ann, bob = await at.new_caller_headers("ann"), await at.new_caller_headers("bob")
        operators = [
            await at.new_caller_headers("ops", scopes=[scope])
            for scope in (AccessScope.OPERATE, AccessScope.READ_ALL)
        ]
        running = (await create_chat_as(at.chatd, bob, content="[[hang]]"))["id"]

        async def in_stage() -> bool:
            return code(await explained(at, running, bob)) == "in_stage"

        await eventually(in_stage)
        pending = (await create_chat_as(at.chatd, ann, content="hello"))["id"]

        async def waits() -> bool:
            return code(await explained(at, pending, ann)) == "no_free_slots"

        await eventually(waits)
        for chat_id, who in ((running, bob), (pending, ann)):
            told = await explained(at, chat_id, who)
            assert (told["worker"], told["workers"], told["chats_ahead"]) == (None, None, None)
            for secret in (socket.gethostname(), __version__, str(at.chatd.daemon.worker_id)):
                assert secret not in str(told)
            for operator in operators:
                seen = await explained(at, chat_id, operator)
                assert seen["workers"]["alive"] == 1
                assert code(seen) == code(told)
        assert (await explained(at, running, operators[0]))["worker"]["host"]
        assert (await explained(at, pending, operators[0]))["chats_ahead"] == 0
