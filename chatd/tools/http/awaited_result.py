"""The result of a call that an endpoint works on, asked for by the key of the call until it is there."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final

import anyio

from chatd.domain.tool_call_errors import RESULT_LOST
from chatd.tools.tool import ToolOutcome

if TYPE_CHECKING:
    import httpx2

STILL_RUNNING: Final = 202
"""Status of a call that has no result yet, also in answer to the call itself."""
_LOST: Final = frozenset({404, 410})
"""Statuses of an endpoint that knows nothing of the call, or nothing any more."""
_TROUBLE: Final = frozenset({408, 425, 429})
"""Statuses, besides those of 500 and more, that say nothing of the call."""
_ERROR_OF_SERVER: Final = 500
_PAUSE_SECONDS: Final = 1.0
"""Pause until the endpoint is asked once more that does not say when."""
_MIN_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.1, 30.0
"""Bounds of what an endpoint may say: a result is neither asked for all the time, nor much too late."""


async def awaited_result(
    http: "httpx2.AsyncClient",
    url: str,
    headers: Mapping[str, str],
    read: Callable[["httpx2.Response"], Awaitable[ToolOutcome]],
    *,
    pause_seconds: float = 0.0,
) -> ToolOutcome:
    """Ask for a result until it is there or lost, at first after a pause. ``read`` reads a response.

    The caller cancels it when the time of the call is over.
    """
    import httpx2  # noqa: PLC0415 - as in client.py

    while True:
        await anyio.sleep(pause_seconds)
        try:
            async with http.stream("GET", url, headers=headers) as response:
                status = response.status_code
                if status in _LOST:
                    return ToolOutcome(text=RESULT_LOST, is_error=True)
                if not _has_none_yet(status):
                    return await read(response)
                pause_seconds = pause_before_next(response)
        except httpx2.HTTPError:
            pause_seconds = _PAUSE_SECONDS


def pause_before_next(response: "httpx2.Response") -> float:
    """Return the seconds after which the endpoint is to be asked, as its ``Retry-After`` says."""
    said = response.headers.get("Retry-After", "").strip()
    if not (said.isascii() and said.isdigit()):
        return _PAUSE_SECONDS  # a date is not worth a clock that differs
    return min(max(float(said), _MIN_PAUSE_SECONDS), _MAX_PAUSE_SECONDS)


def _has_none_yet(status: int) -> bool:
    return status == STILL_RUNNING or status in _TROUBLE or status >= _ERROR_OF_SERVER
