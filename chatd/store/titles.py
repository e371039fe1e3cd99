"""Titles of chats: of new ones, and those that models write."""

from collections.abc import Mapping
from uuid import UUID

from chatd.domain.chat import TitleSource, Usage
from chatd.domain.message import Content
from chatd.domain.sanitize import replace_unstorable
from chatd.domain.title import first_words
from chatd.domain.transitions import Transition
from chatd.store import sql
from chatd.store.commits import NO_LISTENER, CommitListener
from chatd.store.database import Database
from chatd.store.histories import KnownHistories
from chatd.store.records import TransitionResult

_Q = sql.load("titles")


def title_parameters(title: str, content: Content) -> Mapping[str, str]:
    """Return the title of a new chat: the one that its caller gave, or else its first words."""
    return {
        "title": replace_unstorable(title) or first_words(content),
        "title_by": (TitleSource.CALLER if title else TitleSource.WORDS).value,
    }


class Titles:
    """Store for the actor that has chats titled."""

    def __init__(
        self,
        database: Database,
        *,
        listener: CommitListener = NO_LISTENER,
        histories: KnownHistories | None = None,
    ) -> None:
        self._database = database
        self._listener = listener
        self._histories = histories or KnownHistories(max_bytes=0)

    async def set(self, chat_id: UUID, title: str, usage: Usage) -> TransitionResult | None:
        """Give a chat a model's title, and add what it cost to the chat's usage.

        None: a title was given since, or the chat was deleted. Then nothing is changed.
        """
        row = await self._database.fetchrow(
            _Q["set_title"], chat_id=chat_id, title=title, **usage.by_kind()
        )
        if row is None:
            return None
        result = self._listener.committed(row, Transition.SET_TITLE)
        self._histories.carry_over(chat_id, result.chat.version - 1)
        return result
