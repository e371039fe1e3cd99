"""Titles that models write for chats."""

from uuid import UUID

from chatd.domain.chat import Usage
from chatd.domain.transitions import Transition
from chatd.store import sql
from chatd.store.commits import NO_LISTENER, CommitListener
from chatd.store.database import Database
from chatd.store.histories import KnownHistories
from chatd.store.records import TransitionResult

_Q = sql.load("titles")


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
