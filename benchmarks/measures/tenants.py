"""One owner at every limit, and what another owner notices of it."""

import asyncio
from collections.abc import Sequence
from typing import Any

from benchmarks.context import BenchContext
from benchmarks.figures import Figure, Target, percentile
from benchmarks.load_client import load_client
from benchmarks.replica import replica
from chatd.store.database import Database
from chatd.store.tokens import Tokens

_IN_FLIGHT = 1000
_SETTINGS = f'[auth]\nmode = "token"\n[worker]\nmax_chats = {_IN_FLIGHT + 100}\n'
_FILL = """
INSERT INTO chats (id, root_chat_id, owner_id, title, last_model_config_id)
SELECT id, id, 'noisy', 'Chat number ' || n, (SELECT id FROM chat_model_configs LIMIT 1)
FROM (SELECT n, gen_random_uuid() AS id FROM generate_series(1, 100000) n) made;
ANALYZE chats;
"""


async def measure(context: BenchContext) -> Sequence[Figure]:
    dsn = await context.databases.create("tenants")
    seconds = context.profile.round_seconds * 10
    database = Database(dsn, statement_timeout_seconds=120)
    await database.open()
    try:
        tokens = Tokens(database)
        noisy, quiet = [(await tokens.create(owner_id=name))[1] for name in ("noisy", "quiet")]
        async with (
            replica(context.folder, dsn, settings=_SETTINGS, limits={}) as chatd,
            load_client() as other,
            database.dedicated_connection() as connection,
        ):
            await connection.execute(_FILL)

            async def ask(for_seconds: float) -> dict[str, Any]:
                return await context.clients.run_task(
                    "quiet_owner",
                    url=chatd.url,
                    token=quiet,
                    seconds=for_seconds,
                    timeout_seconds=for_seconds + 120.0,
                )

            context.report_progress("one owner alone")
            await ask(1.0)
            alone = await ask(seconds)
            context.report_progress("beside an owner at every limit")
            attack = asyncio.create_task(
                other.run_task(
                    "owner_at_every_limit",
                    url=chatd.url,
                    token=noisy,
                    chats=_IN_FLIGHT,
                    seconds=seconds + 3.0,
                    timeout_seconds=seconds + 120.0,
                )
            )
            await asyncio.sleep(2.0)
            beside = await ask(seconds)
            attacked = await attack
    finally:
        await database.close()
    return [
        Figure(
            name="first_part_beside_owner_at_limits_ms_p95",
            title="First part beside an owner at every limit, p95",
            value=1000 * percentile(beside["first"], 95),
            baseline=1000 * percentile(alone["first"], 95),
            unit="ms",
            description="From a POST to the first part, compared with the same without the other owner.",
            target=Target("<", 3.0, "ratio"),
            detail={"answers": len(beside["first"]), "streams": attacked["streams"]}
            | attacked["answers"],
        ),
        Figure(
            name="readyz_beside_owner_at_limits_ms_max",
            title="/readyz beside an owner at every limit, slowest",
            value=1000 * max(beside["probes"]),
            baseline=1000 * max(alone["probes"]),
            unit="ms",
            description="The slowest answer of /readyz, which is asked ten times a second.",
            target=Target("≤", 100.0),
            detail={"p95": 1000 * percentile(beside["probes"], 95)},
        ),
    ]
