"""The configured models as rows, so that every model that a chat names has a name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from chatd.store import sql
from chatd.store.database import Database

_Q = sql.load("models")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One of ``chat_model_configs``. The ``id`` is made of the ``name``."""

    id: UUID
    name: str
    provider: str
    model: str
    """What the provider calls it."""
    context_limit: int | None
    """Tokens."""
    settings: Mapping[str, Any]


class Models:
    """The table of models. Nothing is ever dropped from it: chats refer to its rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def upsert(self, models: Sequence[ModelRow]) -> None:
        """Have these as rows, as they are now."""
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
        """Every model that a chat may name, also one that is no longer configured."""
        answer = await self._database.fetch(_Q["names"])
        return {row["id"]: row["name"] for row in answer}
