"""Claims by a retry, an edit or results of tools: the turn starts at once, even if a response is lost."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from support.factories import insert_tool_calls, text_content
from support.in_process import InProcessDaemon, running_daemon

from chatd.domain.errors import DatabaseUnavailable
from chatd.domain.transitions import Transition
from chatd.store.database import Database
from chatd.store.tool_calls import ToolResult

Request = Callable[[], Awaitable[object]]


async def prepare(
    chatd: InProcessDaemon, database: Database, transition: Transition
) -> tuple[str, Request]:
    """Make a chat that the transition is for. Return its id, and a function that makes the transition."""
    asked = transition is not Transition.SUBMIT_TOOL_RESULTS
    chat = await chatd.api.create("hello" if asked else None)
    await chatd.api.wait_for_status(chat["id"], "waiting")
    await chatd.wait_until_no_chat_waits()
    chat_id, store = UUID(chat["id"]), chatd.daemon.services.store
    request: partial[Awaitable[object]]
    match transition:
        case Transition.RETRY:
            await database.fetch("UPDATE chats SET status = 'error', last_error = 'no'")
            request = partial(store.chats.retry, chat_id)
        case Transition.EDIT:
            [message, _] = await chatd.api.messages(chat["id"])
            request = partial(
                store.messages.edit, chat_id, message["id"], content=text_content("again")
            )
        case Transition.REGENERATE:
            [_, answer] = await chatd.api.messages(chat["id"])
            request = partial(store.messages.regenerate, chat_id, answer["id"])
        case _:
            await database.fetch(
                "UPDATE chats SET status = 'requires_action', action_deadline = now() + '1 hour'"
            )
            await insert_tool_calls(database, chat_id, "a")
            results = [ToolResult(tool_call_id="a", result=1)]
            request = partial(store.tool_calls.submit, chat_id, results=results)
    return chat["id"], partial(request, owner_id="local")


@pytest.mark.parametrize(
    "transition",
    [
        Transition.RETRY,
        Transition.EDIT,
        Transition.REGENERATE,
        Transition.SUBMIT_TOOL_RESULTS,
    ],
)
async def test_turn_starts_with_the_transition(
    dsn: str, database: Database, transition: Transition
) -> None:
    """No claim is looked for. If the response is lost, the chat is given back at once."""
    async with running_daemon(dsn, worker={"poll_seconds": 600}) as chatd:
        chat_id, request = await prepare(chatd, database, transition)
        claim, claims = chatd.daemon.services.store.claims.claim, chatd.daemon.services.store.claims
        claims.claim = not_called  # type: ignore[method-assign]
        await request()
        await chatd.api.wait_for_status(chat_id, "waiting")
        assert await transitions(chatd, chat_id) == [transition, "claim", "finish_turn"]
        claims.claim = claim  # type: ignore[method-assign]

        chat_id, request = await prepare(chatd, database, transition)
        lose_response(chatd, transition)
        with pytest.raises(DatabaseUnavailable):
            await request()
        await chatd.api.wait_for_status(chat_id, "waiting")
        assert await transitions(chatd, chat_id) == [
            transition,
            "claim",
            "reap",
            "claim",
            "finish_turn",
        ]
        journal = await chatd.journal(chat_id)
        *_, lost, _, again, _ = [datetime.fromisoformat(each["created_at"]) for each in journal]
        assert (again - lost).total_seconds() < 3


async def not_called(*_: object, **__: object) -> Any:
    raise AssertionError("no chat waits")


async def transitions(chatd: InProcessDaemon, chat_id: str) -> list[str]:
    """Return the transitions of the chat after those of ``prepare``."""
    made = [entry["transition"] for entry in await chatd.journal(chat_id)]
    return made[3:] if made[1] == "claim" else made[1:]


def lose_response(chatd: InProcessDaemon, transition: Transition) -> None:
    """Have the response of a claiming statement lost, after its commit."""
    database = chatd.daemon.services.database
    statement = Transition.EDIT if transition is Transition.REGENERATE else transition
    fetch = database.fetch

    async def losing_fetch(query: Any, /, *args: object, **values: object) -> Any:
        rows = await fetch(query, *args, **values)
        if values.get("transition_name") == transition or getattr(query, "name", "").endswith(
            f".{statement}"
        ):
            assert rows[0]["claim_created_at"] is not None
            raise DatabaseUnavailable
        return rows

    database.fetch = losing_fetch  # type: ignore[method-assign,assignment]
