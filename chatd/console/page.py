"""Parts of every page: its visitor, the templates, and pages in place of errors."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

from jinja2 import Environment, PackageLoader, Undefined
from starlette.datastructures import URL
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from typing_extensions import override

from chatd.console import formats
from chatd.console.api_client import ApiClient, ApiError
from chatd.console.assets import Assets
from chatd.console.config import ConsoleConfig
from chatd.console.session import Session, clear_cookie

VISITOR: Final = "chatd.visitor"
"""The ``Visitor`` of a request for a page."""

SIGN_IN: Final = "/sign-in"

_WORDS: Final[Mapping[int, tuple[str, str]]] = {
    403: ("Not allowed", "Your token does not permit this."),
    404: (
        "Nothing here",
        "It does not exist, was deleted, or belongs to another owner.",
    ),
    429: ("Too many requests", "Wait a moment, and load the page again."),
    500: ("Something went wrong", "It was logged. Load the page again, or tell an operator."),
    503: ("Not available just now", "This page loads itself again every few seconds."),
}


_OTHER_STATUS: Final = 500
"""The status of a page for a problem without words of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """The caller of a page, and the parts of the console that make it."""

    api: ApiClient
    session: Session | None
    config: ConsoleConfig
    assets: Assets


def visitor(request: Request) -> Visitor:
    """Return the visitor of a page."""
    found: Visitor = request.scope[VISITOR]
    return found


def render(
    request: Request, template: str, /, status: int = HTTPStatus.OK, **values: object
) -> Response:
    """Return a page made of a template. It has the values that the layout needs, too."""
    who = visitor(request)
    html = (
        _environment()
        .get_template(template)
        .render(
            asset=who.assets.url,
            script=who.assets.script,
            csrf_token=who.session.csrf_token if who.session else "",
            signs_in=who.config.signs_in,
            signed_in=bool(who.session and who.session.credential),
            path=request.url.path,
            **values,
        )
    )
    return HTMLResponse(html, status_code=status)


def respond_to(request: Request, error: ApiError) -> Response:
    """Return the page in place of an error of the API. Without a valid credential that is the sign-in."""
    if error.status == HTTPStatus.UNAUTHORIZED:
        return _to_sign_in(request)
    status = error.status if error.status in _WORDS else _OTHER_STATUS
    heading, advice = _WORDS[status]
    response = render(
        request,
        "error.html",
        status=status,
        heading=heading,
        advice=advice,
        detail=error.detail,
        reloads=status == HTTPStatus.SERVICE_UNAVAILABLE,
    )
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["retry-after"] = "3"
    return response


def chat_id_of(request: Request) -> str:
    """Return the id of the path. Raises ``ApiError`` (404) unless it is one."""
    try:
        return str(UUID(request.path_params["chat_id"]))
    except ValueError:
        raise ApiError(404, {}) from None


def not_found(request: Request) -> Response:
    """Return the page of a path that there is not."""
    return respond_to(request, ApiError(404, {}))


def _to_sign_in(request: Request) -> Response:
    who, scope = visitor(request), request.scope
    if "sec-fetch-site" in request.headers and who.session is None:
        site = request.headers["sec-fetch-site"]
        if site in {"cross-site", "same-site"} and request.method == "GET":
            # The browser kept a strict cookie back because a link elsewhere led here. This page asks again.
            return render(request, "again.html")
    ended = "1" if who.session is not None and who.session.credential else ""
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if target.startswith("/console/"):  # a part of a page, which its script asked for
        return Response(status_code=HTTPStatus.UNAUTHORIZED)
    response = RedirectResponse(
        f"{SIGN_IN}?next={quote(target, safe='')}{'&ended=1' if ended else ''}",
        HTTPStatus.SEE_OTHER,
    )
    if ended:
        response.headers["set-cookie"] = clear_cookie(scope, who.config)
    return response


def local_path(target: str) -> str:
    """Return a path of this origin to go to, ``/`` for anything else."""
    if not target.startswith("/") or target.startswith(("//", "/\\")):
        return "/"
    return target if target.isprintable() and not URL(target).netloc else "/"


class _Absent(Undefined):
    """Value that is absent. It may be tested, since JSON leaves fields out, and not shown."""

    __slots__ = ()

    @override
    def __str__(self) -> str:
        return str(self._fail_with_undefined_error())


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("chatd.console"),
        autoescape=True,
        undefined=_Absent,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: Mapping[str, Any] = formats.FILTERS
    environment.filters.update(filters)
    return environment
