"""The list of chats: found by words, statuses and labels, page by page."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chatd.console.api_client import ApiError
from chatd.console.formats import STATUS_WORDS
from chatd.console.page import render, visitor

_PAGE_SIZE: Final = "50"
_REFUSED: Final = frozenset({422, 429})
_FILTERS: Final = ("q", "in", "status", "label", "archived", "cursor")


async def home(request: Request) -> Response:
    """Return the page of the list, with a form for a new chat."""
    models = (await visitor(request).api.get("models"))["items"]
    return render(request, "home.html", models=models, **await _values(request))


async def chat_rows(request: Request) -> Response:
    """Return the rows alone, for the script that keeps them current."""
    return render(request, "_chats.html", **await _values(request))


async def _values(request: Request) -> Mapping[str, Any]:
    query = {name: request.query_params.get(name, "").strip() for name in _FILTERS}
    problem = ""
    page: dict[str, Any] = {"items": [], "next_cursor": None}
    try:
        page = await visitor(request).api.get("chats", query=_api_query(query))
    except ApiError as error:
        if error.status not in _REFUSED:
            raise
        problem = error.detail
    return {
        "chats": page["items"],
        "matches": page.get("matches") or {},
        "first_page": _url(query, "") if query["cursor"] else None,
        "next_page": _url(query, page["next_cursor"]) if page["next_cursor"] else None,
        "query": query,
        "is_filtered": any(query.values()),
        "problem": problem,
        "statuses": STATUS_WORDS,
    }


def _api_query(query: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the query of the API. The form's ``label`` may have several, with spaces between."""
    left_out = {"label"} if query["q"] else {"label", "in"}
    pairs = [(name, value) for name, value in query.items() if value and name not in left_out]
    pairs += [("label", label) for label in query["label"].split()]
    return [*pairs, ("limit", _PAGE_SIZE)]


def _url(query: Mapping[str, str], cursor: str) -> str:
    """Return the address of another page with the same filters."""
    pairs = [(name, value) for name, value in {**query, "cursor": cursor}.items() if value]
    return f"/?{urlencode(pairs)}" if pairs else "/"


ROUTES: Final = (
    Route("/", home, methods=["GET"]),
    Route("/console/chats", chat_rows, methods=["GET"]),
)
