"""Configured models become rows, also when several processes start concurrently."""

import asyncio
import random
from uuid import NAMESPACE_URL, uuid5

from chatd.store.database import Database
from chatd.store.models import ModelRow, Models

NAMES = tuple(f"model {number}" for number in range(2))


def models(*, shuffled: bool = False, model: str = "m") -> list[ModelRow]:
    return [
        ModelRow(
            id=uuid5(NAMESPACE_URL, name),
            name=name,
            provider="p",
            model=model,
            context_limit=None,
            settings={},
        )
        for name in (random.sample(NAMES, len(NAMES)) if shuffled else NAMES)
    ]


async def test_concurrent_upserts_of_processes_that_start_succeed(
    database: Database,
) -> None:
    kept = Models(database)
    for round_number in range(300):
        await database.fetch("DELETE FROM chat_model_configs")
        await asyncio.gather(*(kept.upsert(models(shuffled=True)) for _ in "12345"))
        assert sorted((await kept.names()).values()) == sorted(NAMES)
        both = (models(shuffled=True, model=f"{round_number}{which}") for which in "ab")
        await asyncio.gather(*map(kept.upsert, both))


async def test_changed_model_is_updated(database: Database) -> None:
    await Models(database).upsert(models())
    await Models(database).upsert(models(model="n"))
    assert {row["model"] for row in await database.fetch("SELECT * FROM chat_model_configs")} == {
        "n"
    }
