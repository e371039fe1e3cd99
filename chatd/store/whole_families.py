"""Transitions of a chat and its descendants, each in one statement that locks them in the order of ids."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from chatd.domain.errors import ChatNotFound, DatabaseBusy
from chatd.domain.request_actor import RequestActor
from chatd.domain.sanitize import replace_unstorable, replace_unstorable_json
from chatd.domain.tool_call_errors import CANCELLED
from chatd.domain.transitions import Transition
from chatd.store import sql
from chatd.store.claim_on_send import ClaimOnSend
from chatd.store.commits import NO_LISTENER, CommitListener
from chatd.store.database import Database
from chatd.store.executor import TransitionExecutor, caller_arguments
from chatd.store.idempotency import IdempotencyKey
from chatd.store.limits import ChatLimits
from chatd.store.records import TransitionResult
from chatd.store.turns import FencingToken

_Q = sql.load("chats")


class WholeFamilies:
    """Base of the store of chats: what reaches the descendants of a chat, too."""

    def __init__(
        self,
        database: Database,
        *,
        limits: Callable[[], ChatLimits] = ChatLimits,
        listener: CommitListener = NO_LISTENER,
        claim_on_send: ClaimOnSend | None = None,
    ) -> None:
        self._database = database
        self._claim_on_send = claim_on_send
        self._listener = listener
        self._executor = TransitionExecutor(database, listener, claim_on_send)
        self._limits = limits

    async def interrupt(
        self,
        chat_id: UUID,
        *,
        owner_id: str,
        actor: RequestActor | None = None,
        key: IdempotencyKey | None = None,
        caller: FencingToken | None = None,
    ) -> TransitionResult:
        """Stop the turn of a chat, and those of its descendants, whose queues are emptied.

        Safe to repeat: an idle chat is left as it is. With a ``caller``, that chat stops a descendant.

        Raises:
            ChatNotFound, StatusUnknown, LeaseLost (of the caller)
        """
        result, *_ = await self._executor.execute_many(
            Transition.INTERRUPT,
            _Q["interrupt"],
            actor=actor,
            key=key,
            chat_id=chat_id,
            owner_id=owner_id,
            **caller_arguments(caller),
            words=CANCELLED,
            limits=self._limits().of_owner,
        )
        return result

    async def archive(
        self,
        chat_id: UUID,
        *,
        owner_id: str,
        archived: bool = True,
        title: str | None = None,
        labels: Mapping[str, str] | None = None,
        permissions: Mapping[str, Any] | None = None,
        actor: RequestActor | None = None,
        key: IdempotencyKey | None = None,
    ) -> list[TransitionResult]:
        """Archive or unarchive a chat with its descendants, all or none. Its result comes first.

        Title, labels and permissions change for the chat itself only.

        Raises:
            ChatNotFound, ChatTreeBusy
        """
        return await self._executor.execute_many(
            Transition.ARCHIVE if archived else Transition.UNARCHIVE,
            _Q["archive"],
            actor=actor,
            key=key,
            chat_id=chat_id,
            owner_id=owner_id,
            archived=archived,
            **description(title, labels, permissions),
        )

    async def delete(self, chat_id: UUID, *, owner_id: str) -> list[tuple[UUID, int]]:
        """Delete a chat and its descendants with everything stored of them. Return ids and versions.

        Raises:
            ChatNotFound
        """
        deleted = await self._delete(chat_id, owner_id=owner_id, only_expired=False)
        if not deleted:
            raise ChatNotFound(chat_id)
        return deleted

    async def delete_expired(self, *, limit: int) -> int:
        """Delete up to ``limit`` expired chats, with all that they started. Return how many were found.

        A chat that got a message meanwhile is left for later: it is answered first. One that takes too long
        keeps no other from being deleted.

        Raises:
            DatabaseBusy: for the last of those that were given up
        """
        found = await self._database.fetch(_Q["expired"], limit=limit)
        failure: DatabaseBusy | None = None
        for row in found:
            try:
                await self._delete(row["id"], owner_id=row["owner_id"], only_expired=True)
            except DatabaseBusy as error:
                failure = error
        if failure is not None:
            raise failure
        return len(found)

    async def _delete(
        self, chat_id: UUID, *, owner_id: str, only_expired: bool
    ) -> list[tuple[UUID, int]]:
        """Delete a family. Return its ids and versions, none if there is no such chat or it is kept."""
        while True:
            rows = await self._database.fetch(
                _Q["delete"], chat_id=chat_id, owner_id=owner_id, only_expired=only_expired
            )
            outcome = rows[0]["outcome"] if rows else "kept"
            if outcome == "kept":
                return []
            if outcome == "done":
                break
        for row in rows:
            self._listener.on_delete(row["id"], row["version"], row["owner_id"])
        self._listener.on_family_idle(rows[0]["family_root"])
        return [(row["id"], row["version"]) for row in rows]


def description(
    title: str | None, labels: Mapping[str, str] | None, permissions: Mapping[str, Any] | None
) -> Mapping[str, object | None]:
    """Return the parameters of a description, without unstorable text. None: it stays as it is."""
    return {
        "title": None if title is None else replace_unstorable(title),
        "labels": None if labels is None else replace_unstorable_json(labels),
        "permissions": permissions,
    }
