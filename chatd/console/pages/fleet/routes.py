"""Workers, charts of the last hour, active chats of all owners, and the process that answers."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chatd.console.api_client import ApiError
from chatd.console.formats import STATUS_WORDS
from chatd.console.page import render, visitor
from chatd.console.pages.fleet import charts
from chatd.domain.fleet import ACTIVE, AGE_BOUNDS_SECONDS

_PAGE_SIZE: Final = "50"
_REFUSED: Final = 422
_FILTERS: Final = ("status", "owner_id")
_AGES: Final = ("under 10 s", "under 1 min", "under 10 min", "under 1 h", "longer")
assert len(_AGES) == len(AGE_BOUNDS_SECONDS) + 1  # noqa: S101 - the words of the bounds


async def fleet(request: Request) -> Response:
    """Return the page."""
    return render(request, "fleet.html", **await _values(request))


async def fleet_state(request: Request) -> Response:
    """Return the page without its layout, for the script that keeps it current."""
    return render(request, "_fleet.html", **await _values(request))


async def _values(request: Request) -> Mapping[str, Any]:
    api = visitor(request).api
    query = {name: request.query_params.get(name, "").strip() for name in _FILTERS}
    state = await api.get("fleet")
    history = await api.get("fleet", "history")
    problem, chats = "", dict[str, Any](items=[])
    try:
        pairs = [(name, value) for name, value in query.items() if value]
        pairs.append(("limit", _PAGE_SIZE))
        chats = await api.get("fleet", "chats", query=pairs)
    except ApiError as error:
        if error.status != _REFUSED:
            raise
        problem = error.detail
    statuses = {each["status"]: each for each in state["statuses"]}
    return {
        "fleet": state,
        "process": await api.process_status(),
        "history": history,
        "charts": [charts.draw(spec, history) for spec in charts.CHARTS],
        "chart_size": (charts.WIDTH, charts.HEIGHT),
        "statuses": [(status.value, statuses.get(status.value)) for status in ACTIVE],
        "status_words_of": STATUS_WORDS,
        "ages": _AGES,
        "chats": chats["items"],
        "problem": problem,
        "query": query,
    }


ROUTES: Final = (
    Route("/fleet", fleet, methods=["GET"]),
    Route("/console/fleet", fleet_state, methods=["GET"]),
)
