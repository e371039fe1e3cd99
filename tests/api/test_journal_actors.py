"""Actors in the journal: whose credential made each transition, and who may see that."""

from typing import Any

from support.auth import AuthenticatedDaemons, Bearer, authenticated_daemons, create_chat_as, get_as
from support.eventually import eventually
from support.providers import scripted
from support.requests import VALID_BODIES, chat_operations

from chatd.domain.access_scope import AccessScope
from chatd.domain.transitions import Actor, Transition


async def journal(at: AuthenticatedDaemons, chat_id: str, who: Bearer) -> list[dict[str, Any]]:
    answer = await get_as(at.chatd, f"/api/v1/chats/{chat_id}/events", who)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


async def test_journal_names_the_actor_of_each_request(dsn: str) -> None:
    async with authenticated_daemons(dsn, scripted()) as at:
        own, ann = await at.create_token("ann")
        acting, backend = await at.create_token("backend", scopes=[AccessScope.ACT_FOR])
        reader = await at.new_caller_headers("ops", scopes=[AccessScope.READ_ALL])
        for_ann = backend | {"x-chatd-owner": "ann"}
        chat_id = (await create_chat_as(at.chatd, ann, content="hello"))["id"]
        path = f"/api/v1/chats/{chat_id}"

        async def answered() -> bool:
            return bool((await get_as(at.chatd, path, ann)).json()["status"] == "waiting")

        await eventually(answered)
        await at.chatd.api.http.patch(path, json={"title": "new"}, headers=for_ann)
        ours = {"owner_id": "ann", "token_id": str(own.id)}
        theirs = {"owner_id": "backend", "token_id": str(acting.id)}

        def actors(entries: list[dict[str, Any]]) -> dict[str, Any]:
            return {entry["transition"]: entry["actor"] for entry in entries}

        of_workers = dict.fromkeys(("claim", "finish_turn"))
        seen = actors(await journal(at, chat_id, reader))
        assert seen == {"create": ours, "describe": theirs, **of_workers}
        for who in (ann, for_ann):  # acting for her shows what she is shown
            assert actors(await journal(at, chat_id, who)) == seen | {"describe": None}


async def test_every_transition_of_callers_names_its_actor(dsn: str) -> None:
    """Requests of the document that change a chat leave an entry with the token that made them."""
    async with authenticated_daemons(dsn, scripted(), worker={"enabled": False}) as at:
        token, ann = await at.create_token("ann")
        for method, template in chat_operations():
            if method == "get":
                continue
            chat_id = (await create_chat_as(at.chatd, ann, content="hello"))["id"]
            path = template.replace("{chat_id}", chat_id)
            if "{" in path:
                queued = await at.chatd.api.http.post(
                    f"/api/v1/chats/{chat_id}/messages", json={"content": "more"}, headers=ann
                )
                history = (await get_as(at.chatd, f"/api/v1/chats/{chat_id}/messages", ann)).json()
                path = path.format(
                    queued_id=queued.json()["queued_message"]["id"],
                    message_id=history["items"][0]["id"],
                )
            body = VALID_BODIES.get((method, template))
            await at.chatd.api.http.request(method, path, json=body, headers=ann)
        rows = await at.database.fetch(
            "SELECT transition, actor_owner_id, actor_token_id FROM chat_events"
        )
        made = {row["transition"] for row in rows}
        assert made >= {
            "create",
            "send",
            "describe",
            "interrupt",
            "edit",
            "remove_queued",
            "promote",
        }
        assert all(Transition(name).rule.actor is Actor.CALLER for name in made)
        assert {(row["actor_owner_id"], row["actor_token_id"]) for row in rows} == {
            (None, token.id)
        }


async def test_log_names_the_actor_and_the_owner(dsn: str) -> None:
    async with authenticated_daemons(dsn, scripted()) as at:
        token, backend = await at.create_token("backend", scopes=[AccessScope.ACT_FOR])
        headers = backend | {"x-chatd-owner": "ann", "x-request-id": "who"}
        await get_as(at.chatd, "/api/v1/chats", headers)
        line = await at.chatd.wait_for_log("http.request", request_id="who")
        assert (line["owner_id"], line["actor_owner_id"]) == ("ann", "backend")
        assert line["token_id"] == str(token.id)
        await get_as(at.chatd, "/livez", {"x-request-id": "nobody"})
        line = await at.chatd.wait_for_log("http.request", request_id="nobody")
        assert (line["owner_id"], line["actor_owner_id"], line["token_id"]) == (None, None, None)
