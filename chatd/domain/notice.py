"""Notices: what people should know about a turn, besides its answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

MAX_NOTICES: Final = 20
"""Notices of one step. A chat with more servers that are unavailable needs no list of them."""
MAX_NOTICE_LENGTH: Final = 500
"""Characters of a notice. None of ours has as many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A notice about a server whose tools the chat should have. The results of its calls tell models."""

    server: str
    message: str


def notices_json(notices: Sequence[Notice]) -> Mapping[str, Any]:
    """Return notices as a part of a journal entry's data: nothing if there are none."""
    if not notices:
        return {}
    return {
        "notices": [
            {"server": notice.server, "message": notice.message[:MAX_NOTICE_LENGTH]}
            for notice in notices[:MAX_NOTICES]
        ]
    }
