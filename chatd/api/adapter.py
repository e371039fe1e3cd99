"""An adapter of another protocol, as the API knows it: routes under a prefix, and their refusals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from chatd.api.scope import ADAPTER, add_header, single_header

EXPOSED_HEADERS: Final = (
    "Content-Location",
    "X-Chatd-Chat",
    "X-Chatd-Code",
    "X-Chatd-Detached",
    "X-Chatd-Ignored",
    "X-Should-Retry",
    "X-Vercel-Ai-Ui-Message-Stream",
)
"""Headers of responses of adapters that pages of other sites may read, besides those of the API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A problem that no protocol has spelled yet. ``errors`` are places in the request and reasons."""

    status: int
    code: str
    detail: str
    errors: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """The routes of one protocol, all below ``prefix``, and how it spells a refusal.

    ``credential`` returns the token of a request from another place than ``Authorization``, if it is there.
    ``config`` is what the adapters' own code reads. No route is in the OpenAPI document.
    """

    name: str
    prefix: str
    router: APIRouter
    refuse: Callable[[Refusal], Response]
    credential: Callable[[Scope], str | None] | None = None
    config: object = None


class AdapterPaths:
    """The ASGI application before all others, if there are adapters: it notes whose path a request has."""

    def __init__(self, app: ASGIApp, adapters: Sequence[Adapter]) -> None:
        self._app = app
        self._adapters = [(f"{adapter.prefix}/", adapter) for adapter in adapters]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = f"{scope['path']}/"
        for prefix, adapter in self._adapters:
            if path.startswith(prefix):
                scope[ADAPTER] = adapter
                if adapter.credential is not None:
                    _use_credential(scope, adapter.credential(scope))
                break
        await self._app(scope, receive, send)


def _use_credential(scope: Scope, token: str | None) -> None:
    """Have a token authenticate the request. One that contradicts ``Authorization`` makes both invalid."""
    if token is None:
        return
    credential = token.encode("latin-1", "replace")
    scheme, _, given = (single_header(scope, b"authorization") or b"").partition(b" ")
    if scheme.lower() != b"bearer" or given.strip() != credential:
        # Two headers of this name are refused.
        add_header(scope, b"authorization", b"Bearer " + credential)
