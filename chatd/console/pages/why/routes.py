"""A chat's reasons, its facts, and its journal as a time line."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chatd.console.api_client import ApiClient, ApiError
from chatd.console.page import chat_id_of, render, visitor
from chatd.console.pages.why.timeline import Entry, entries_of

_PAGE_SIZE: Final = 100
"""Entries of a page. One more is read, for the time before the first."""
_MAX_CALLS: Final = 200
_MAX_VERSION: Final = 2**63 - 1
_FORBIDDEN: Final = 403


async def why(request: Request) -> Response:
    """Return the page of a chat's reasons and journal, its newest entries or those before ``before``."""
    api, chat_id = visitor(request).api, chat_id_of(request)
    explanation = await api.get("chats", chat_id, "explain")
    title, journal, is_hidden = None, [], False
    try:
        title = (await api.get("chats", chat_id))["title"]
        last = min(_before(request), explanation["version"] + 1) - 1
        query = [("after", str(max(last - _PAGE_SIZE - 1, 0))), ("limit", str(_PAGE_SIZE + 1))]
        journal = (await api.get("chats", chat_id, "events", query=query))["items"]
        journal = [entry for entry in journal if entry["version"] <= last]
    except ApiError as error:
        if error.status != _FORBIDDEN:
            raise
        is_hidden = True  # with the scope `operate` alone, only the reasons may be read
    entries = await _entries(api, chat_id, journal)
    return render(
        request,
        "why.html",
        chat_id=chat_id,
        title=title,
        why=explanation,
        entries=entries,
        is_hidden=is_hidden,
        older=entries[0].version if entries and entries[0].version > 1 else None,
        is_newest=not entries or entries[-1].version >= explanation["version"],
    )


async def _entries(
    api: ApiClient, chat_id: str, journal: Sequence[Mapping[str, Any]]
) -> Sequence[Entry]:
    messages = [message for entry in journal for message in entry["data"].get("messages") or ()]
    calls: list[dict[str, Any]] = []
    if messages:
        query = [("after_id", str(max(min(messages) - 1, 0))), ("limit", str(_MAX_CALLS))]
        calls = (await api.get("chats", chat_id, "tool-calls", query=query))["items"]
    if len(journal) > _PAGE_SIZE:
        return entries_of(journal[1:], calls, before=journal[0])
    return entries_of(journal, calls)


def _before(request: Request) -> int:
    text = request.query_params.get("before", "")
    return min(int(text), _MAX_VERSION) if text.isascii() and text.isdecimal() else _MAX_VERSION


ROUTES: Final = (Route("/chats/{chat_id}/why", why, methods=["GET"]),)
