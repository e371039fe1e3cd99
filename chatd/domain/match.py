"""Messages that a search found, with an excerpt of each."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from chatd.domain.chat import Chat
from chatd.domain.message import Role

MARK_START: Final = "\ue000"
MARK_END: Final = "\ue001"
"""Signs around the words that were found, in the excerpts of the database. No text has them there."""
_MAX_EXCERPT: Final = 400
"""Characters of an excerpt. It has 30 words at most, but some texts have no blanks."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A piece of an excerpt: text that was found (``matches``), or text around it."""

    text: str
    matches: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The newest message of a chat that a search found."""

    chat: Chat
    message_id: int
    role: Role
    created_at: datetime
    excerpt: tuple[Excerpt, ...]


def excerpt(marked: str) -> tuple[Excerpt, ...]:
    """Return the pieces of a text whose found words stand between the two signs, cut if it is long.

    It is cut around the first word that was found.
    """
    first = marked.find(MARK_START)
    skipped = 0 if first < _MAX_EXCERPT // 2 else first - _MAX_EXCERPT // 4
    return tuple(_pieces(marked[skipped : skipped + _MAX_EXCERPT]))


def _pieces(marked: str) -> Iterator[Excerpt]:
    for number, piece in enumerate(marked.split(MARK_START)):
        found, end, after = piece.partition(MARK_END) if number else ("", "", piece)
        if number and not end:
            found, after = piece, ""
        for text, matches in ((found, True), (after, False)):
            if text:
                yield Excerpt(text, matches)
