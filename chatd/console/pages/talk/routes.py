"""A chat: its messages page by page, its state, and what it waits for."""

from typing import Any, Final

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chatd.console.page import chat_id_of, render, visitor
from chatd.console.pages.talk.shown import ShownMessage, show_messages

_PAGE_SIZE: Final = 40
"""Messages of a page, and of the pages before it."""
_MAX_ID: Final = 2**63 - 1


async def talk(request: Request) -> Response:
    """Return the page of a chat: its newest messages, or those up to the message ``at``."""
    api, chat_id = visitor(request).api, chat_id_of(request)
    state = await _state(request)
    at = _number(request, "at")
    page = await _older_page(request, at + 1 if at is not None else _MAX_ID)
    newer: dict[str, Any] = {"items": [], "next_cursor": None}
    if at is not None:
        query = [("after_id", str(at)), ("limit", str(_PAGE_SIZE))]
        newer = await api.get("chats", chat_id, "messages", query=query)
    messages = await _show([*page["items"], *newer["items"]])
    return render(
        request,
        "talk.html",
        messages=messages,
        older_id=page["next_cursor"],
        has_newer=newer["next_cursor"] is not None,
        **state,
    )


async def messages_after(request: Request) -> Response:
    """Return messages after ``after_id`` as HTML, for the script of a page."""
    api, chat_id = visitor(request).api, chat_id_of(request)
    query = [("after_id", str(_number(request, "after_id") or 0)), ("limit", str(_PAGE_SIZE))]
    page = await api.get("chats", chat_id, "messages", query=query)
    return await _fragment(request, page, older_id=None)


async def messages_before(request: Request) -> Response:
    """Return messages before ``before_id`` as HTML, for the script of a page."""
    page = await _older_page(request, _number(request, "before_id") or 0)
    return await _fragment(request, page, older_id=page["next_cursor"])


async def chat_state(request: Request) -> Response:
    """Return everything of a chat but its messages as HTML, for the script of a page."""
    return render(request, "_state.html", **await _state(request))


async def _fragment(request: Request, page: dict[str, Any], *, older_id: str | None) -> Response:
    response = render(
        request,
        "_messages.html",
        messages=await _show(page["items"]),
        older_id=older_id,
        chat_id=chat_id_of(request),
    )
    if older_id is None and page["next_cursor"] is not None:
        response.headers["x-chatd-more"] = page["next_cursor"]
    return response


async def _older_page(request: Request, before_id: int) -> dict[str, Any]:
    query = [("before_id", str(before_id)), ("limit", str(_PAGE_SIZE))]
    page: dict[str, Any] = await visitor(request).api.get(
        "chats", chat_id_of(request), "messages", query=query
    )
    return page


async def _state(request: Request) -> dict[str, Any]:
    api, chat_id = visitor(request).api, chat_id_of(request)
    chat = await api.get("chats", chat_id)
    queue = await api.get("chats", chat_id, "queue") if chat["queue_length"] else {"items": []}
    return {
        "chat": chat,
        "chat_id": chat_id,
        "queue": queue["items"],
        "actions": chat["actions"] or [],
    }


async def _show(messages: list[dict[str, Any]]) -> list[ShownMessage]:
    # In a thread, since markdown takes a millisecond for some thousand characters.
    return await to_thread.run_sync(show_messages, messages)


def _number(request: Request, name: str) -> int | None:
    text = request.query_params.get(name, "")
    return min(int(text), _MAX_ID - 1) if text.isdecimal() and text.isascii() else None


ROUTES: Final = (
    Route("/chats/{chat_id}", talk, methods=["GET"]),
    Route("/console/chats/{chat_id}/after", messages_after, methods=["GET"]),
    Route("/console/chats/{chat_id}/before", messages_before, methods=["GET"]),
    Route("/console/chats/{chat_id}/state", chat_state, methods=["GET"]),
)
