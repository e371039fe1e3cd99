"""Reasons why a connection failed, in words that hold nothing of what a server sent."""

from typing import Final

from chatd.supervision.child_run import flatten_group
from chatd.tools.mcp.connection import ConnectionLost
from chatd.tools.mcp.link import Link

_WORDS: Final = {
    "ConnectError": "it could not be reached",
    "ConnectTimeout": "it could not be reached",
    "OAuthFlowError": "its authorization server is not oauth_issuer, or does not describe itself",
}
"""Words for errors of libraries, which are imported only when they are used."""


def failure_reason(link: Link, error: Exception | None) -> str:
    """Return why a connection failed. What its transport saw says more than what the SDK raises."""
    if link.reason:
        return link.reason
    if error is None:
        return "the connection was closed"
    first = flatten_group(error)[0]
    if words := _WORDS.get(type(first).__name__):
        return words
    match first:
        case ConnectionLost():
            return str(first)
        case FileNotFoundError():
            return "its command was not found"
        case PermissionError():
            return "its command may not be executed"
        case _:
            return f"{type(first).__name__} while it was connected"
