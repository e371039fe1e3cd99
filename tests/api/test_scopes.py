"""Scopes of tokens, tried one by one on every operation of the OpenAPI document."""

from collections.abc import Mapping
from typing import Any

import httpx2
from support.auth import AuthenticatedDaemons, Bearer, authenticated_daemons, create_chat_as
from support.providers import scripted
from support.requests import (
    VALID_BODIES,
    assert_problem,
    fill_path,
    is_stream,
    open_stream,
    operations,
)

from chatd.api.app import PUBLIC_PATHS
from chatd.api.auth.permissions import OPERATION_SCOPES
from chatd.domain.access_scope import AccessScope

READS_OF_ANY_CHAT = {AccessScope.READ_ALL, AccessScope.OPERATE}


def needed_scopes(operation: Mapping[str, Any]) -> set[str]:
    """Return the scopes of which the document asks for one."""
    return {scope for entry in operation.get("security", ()) for scope in entry["bearer"]}


async def request_as(
    at: AuthenticatedDaemons, who: Bearer, method: str, template: str, chat_id: str
) -> httpx2.Response:
    """Request an operation with a valid body. Of a stream, read the response only if it is a problem."""
    path, more = fill_path(template, chat_id), {"headers": who}
    operation = next(one for m, path_, one in operations() if (m, path_) == (method, template))
    if is_stream(operation):
        async with open_stream(at.chatd, path, **more) as answer:
            if answer.status_code != 200:
                await answer.aread()
            return answer
    body = VALID_BODIES.get((method, template))
    return await at.chatd.api.http.request(
        method, path, **more, **({} if body is None else {"json": body})
    )


async def test_each_scope_admits_to_its_operations_only(dsn: str) -> None:
    async with authenticated_daemons(dsn, scripted()) as at:
        for scope in AccessScope:
            who = await at.new_caller_headers("ann", scopes=[scope])
            for method, template, operation in operations():
                chat = await create_chat_as(at.chatd, await at.new_caller_headers("ann"))
                answer = await request_as(at, who, method, template, chat["id"])
                needed = needed_scopes(operation)
                if template in PUBLIC_PATHS or scope in needed:
                    assert answer.status_code not in {401, 403}, (scope, method, template)
                    continue
                assert needed
                problem = assert_problem(answer, 403, "insufficient_scope")
                assert all(name in problem["detail"] for name in needed), problem
                assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


async def test_only_operators_reach_chats_of_others_and_change_none(dsn: str) -> None:
    async with authenticated_daemons(dsn, scripted()) as at:
        ann = await at.new_caller_headers("ann")
        chat = await create_chat_as(at.chatd, ann, title="hers")
        for scope in AccessScope:
            who = await at.new_caller_headers("bob", scopes=[scope, AccessScope.CHATS])
            for method, template, operation in operations():
                if "{chat_id}" not in template or "/fleet/" in template:  # test_fleet.py
                    continue
                answer = await request_as(at, who, method, template, chat["id"])
                if scope in READS_OF_ANY_CHAT and scope in needed_scopes(operation):
                    assert method == "get"
                    if "{file_id}" in template:  # they get past the chat, which has no file
                        assert_problem(answer, 404, "file_not_found")
                    else:
                        assert answer.status_code == 200, (scope, template)
                else:
                    assert_problem(answer, 404, "chat_not_found")
        now = await at.chatd.api.http.get(f"/api/v1/chats/{chat['id']}", headers=ann)
        assert now.json() == chat


def test_every_operation_is_in_the_table() -> None:
    documented = {
        one["operationId"]: needed_scopes(one)
        for _, path, one in operations()
        if path not in PUBLIC_PATHS
    }
    assert documented == {name: set(scopes) for name, scopes in OPERATION_SCOPES.items()}
    assert {scope for scopes in documented.values() for scope in scopes} == set(AccessScope) - {
        AccessScope.ACT_FOR
    }
