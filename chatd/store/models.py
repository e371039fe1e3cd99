"""Configured models as rows, so that every model id in a chat has a name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from chatd.store import sql
from chatd.store.database import Database

_Q = sql.load("models")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """A row of ``chat_model_configs``. The ``id`` is derived from the ``name``."""

    id: UUID
    name: str
    provider: str
    model: str
    """The provider's name for it."""
    context_limit: int | None
    """Tokens."""
    settings: Mapping[str, Any]


class Models:
    """Store for the table of models. Rows are never deleted, because chats refer to them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def upsert(self, models: Sequence[ModelRow]) -> None:
        """Insert or update the rows of ``models``."""
        await self._database.fetch(
            _Q["upsert"],
            ids=[model.id for model in models],
            names=[model.name for model in models],
            providers=[model.provider for model in models],
            models=[model.model for model in models],
            context_limits=[model.context_limit for model in models],
            settings=[dict(model.settings) for model in models],
        )

    async def names(self) -> Mapping[UUID, str]:
        """Return the names of all models that a chat may refer to, configured or not."""
        return {row["id"]: row["name"] for row in await self._database.fetch(_Q["names"])}
