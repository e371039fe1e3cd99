"""Claims per second when very many chats are pending."""

import asyncio
import time
from collections.abc import Sequence
from uuid import UUID, uuid4

from benchmarks.context import BenchContext
from benchmarks.figures import Figure
from benchmarks.measures import seed
from chatd.domain.errors import ChatdError
from chatd.store.claims import Claims
from chatd.store.database import Database

_CLAIMERS = 4


async def measure(context: BenchContext) -> Sequence[Figure]:
    rows = context.profile.pending_rows
    database = Database(await context.databases.create("claims"), pool_size=_CLAIMERS)
    await database.open()
    model_id = await seed.insert_model(database)
    rates = []
    for claimers, batch, share in ((1, 1, 10), (1, 100, 1), (_CLAIMERS, 10, 1)):
        context.report_progress(f"{rows:,} pending, {claimers} claimers, {batch} at a time")
        await seed.insert_pending(database, model_id, rows)
        rates.append(await _claim_rate(database, model_id, claimers, batch, rows // share))
    await database.close()
    titles = ("one at a time", "a hundred at a time", f"{_CLAIMERS} claimers, ten at a time")
    names = ("one", "hundred", "claimers")
    return [
        Figure(
            name=f"claims_per_second_{name}",
            title=title,
            value=rate,
            unit="chats/s",
            description=f"the claim statement over {rows:,} pending chats, none claimed twice",
        )
        for name, title, rate in zip(names, titles, rates, strict=True)
    ]


async def _claim_rate(
    database: Database, model_id: UUID, claimers: int, batch: int, rows: int
) -> float:
    claimed: list[UUID] = []

    async def claim() -> None:
        claims = Claims(database, worker_id=uuid4())
        while len(claimed) < rows:
            taken = await claims.claim(batch, models=(model_id,), suspect_recoveries=2)
            if not taken.claims:
                break
            claimed.extend(claim.result.chat.id for claim in taken.claims)

    begun = time.perf_counter()
    await asyncio.gather(*(claim() for _ in range(claimers)))
    seconds = time.perf_counter() - begun
    if len(set(claimed)) != len(claimed):
        raise ChatdError("A chat was claimed twice.")
    return len(claimed) / seconds
