"""Configured models become rows, whoever else is starting at the same moment."""

import asyncio
import random
from uuid import NAMESPACE_URL, UUID, uuid5

from chatd.store.pool import Database
from chatd.store.reads import Reads

NAMES = tuple(f"model {number}" for number in range(2))


def models(
    *, shuffled: bool = False, model: str = "m"
) -> list[tuple[UUID, str, str, str, int | None, dict[str, object]]]:
    names = random.sample(NAMES, len(NAMES)) if shuffled else NAMES
    return [(uuid5(NAMESPACE_URL, name), name, "p", model, None, {}) for name in names]


async def test_processes_that_start_together_do_not_stumble_over_each_other(
    database: Database,
) -> None:
    for round_number in range(300):
        await database.fetch("DELETE FROM chat_model_configs")
        await asyncio.gather(*(Reads(database).keep_models(models(shuffled=True)) for _ in "12345"))
        assert sorted((await Reads(database).model_names()).values()) == sorted(NAMES)
        both = (models(shuffled=True, model=f"{round_number}{which}") for which in "ab")
        await asyncio.gather(*map(Reads(database).keep_models, both))


async def test_a_model_that_was_changed_is_changed(database: Database) -> None:
    await Reads(database).keep_models(models())
    await Reads(database).keep_models(models(model="n"))
    assert {row["model"] for row in await database.fetch("SELECT * FROM chat_model_configs")} == {
        "n"
    }
