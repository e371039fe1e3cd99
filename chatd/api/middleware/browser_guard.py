"""Refusal of requests by which web pages have a visitor's browser call this server."""

import re
from collections.abc import Collection
from typing import Final

from starlette.types import Scope

from chatd.api.errors.problems import HttpProblem
from chatd.api.scope import header_values

_LOOPBACK_HOST: Final = re.compile(
    rb"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?", re.IGNORECASE
)
_HOST_DETAIL: Final = (
    'Host: without authentication (auth.mode = "none") it must be localhost, 127.0.0.1 or [::1], '
    "with the port."
)
_ORIGIN_DETAIL: Final = "Origin: pages of another site may change nothing here (http.cors_origins)."
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class BrowserGuard:
    """Refusal of requests which only a page of another site could have caused.

    With ``loopback_only``, that is without authentication, the header ``Host`` must name a loopback
    address: a page whose own name was pointed at this address (DNS rebinding) sends that name. An unsafe
    method with the ``Origin`` of another site is refused, unless the origin is in ``allowed_origins``.
    A client that is no browser sends no ``Origin``, and is not affected.
    """

    def __init__(self, *, allowed_origins: Collection[str], loopback_only: bool) -> None:
        self._allowed_origins = frozenset(origin.encode().lower() for origin in allowed_origins)
        self._loopback_only = loopback_only

    def check(self, scope: Scope) -> None:
        """Raise ``HttpProblem`` (403, 421) for such a request."""
        hosts = header_values(scope, b"host")
        if self._loopback_only and (
            len(hosts) > 1 or any(not _LOOPBACK_HOST.fullmatch(host) for host in hosts)
        ):
            raise HttpProblem("misdirected_request", _HOST_DETAIL)
        if scope["method"] in _SAFE_METHODS:
            return
        for origin in header_values(scope, b"origin"):
            if origin.lower() not in self._allowed_origins and not _is_same(origin, hosts):
                raise HttpProblem("foreign_origin", _ORIGIN_DETAIL)


def _is_same(origin: bytes, hosts: Collection[bytes]) -> bool:
    """Return whether an origin is that of this server, by the name that the client has for it.

    Its scheme is not compared, since a proxy in front may add TLS.
    """
    scheme, separator, authority = origin.lower().partition(b"://")
    default_port = {b"http": b":80", b"https": b":443"}.get(scheme)
    if not separator or default_port is None:
        return False
    return authority in {host.lower().removesuffix(default_port) for host in hosts} | {
        host.lower() for host in hosts
    }
