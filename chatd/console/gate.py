"""The gate between the scripts of the console's pages and the API.

A request with a session's cookie comes from a browser, whatever page made it. So it counts only from pages
of this origin, and changes something only with the session's CSRF token.
"""

from typing import Final

from starlette.types import Scope

from chatd.api.errors.problems import HttpProblem
from chatd.console.session import CSRF_HEADER, Session

_AUTHORIZATION: Final = b"authorization"
_OWN_SITES: Final = frozenset({b"same-origin", b"none"})
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_STALE_PAGE: Final = (
    "X-Chatd-Csrf: it is missing, or belongs to a session that has ended. Load the page again."
)
_SITE_DETAIL: Final = "A session counts only for pages of the console itself."


def has_credential(scope: Scope) -> bool:
    """Return whether a request brings a credential of its own. Then a cookie does not count."""
    return any(name == _AUTHORIZATION for name, _ in scope["headers"])


def admit(scope: Scope, session: Session) -> None:
    """Give a request of a page the credential of its session. Raises ``HttpProblem`` (403)."""
    headers = {name: value for name, value in scope["headers"] if name != b"cookie"}
    if headers.get(b"sec-fetch-site", b"same-origin") not in _OWN_SITES:
        raise HttpProblem("foreign_origin", _SITE_DETAIL)
    if scope["method"] not in _SAFE_METHODS:
        token = headers.get(CSRF_HEADER.encode(), b"").decode("latin-1")
        if not session.is_valid_token(token):
            raise HttpProblem("foreign_origin", _STALE_PAGE)
    # In place, since the server empties this list once a stream has begun.
    scope["headers"].append((_AUTHORIZATION, f"Bearer {session.credential}".encode()))
