"""Facts about a daemon whose connections to PostgreSQL break."""

import asyncio

import asyncpg


async def transition_counts(inspector: asyncpg.Connection) -> dict[str, int]:
    """Return how often each transition is in the journal."""
    rows = await inspector.fetch(
        "SELECT transition, count(*) AS n FROM chat_events GROUP BY transition"
    )
    return {row["transition"]: row["n"] for row in rows}


async def equals(answer: "asyncio.Future[int]", expected: int) -> bool:
    """Return whether a query answers with this number."""
    return await answer == expected


async def all_idle(inspector: asyncpg.Connection) -> bool:
    """Return whether every chat is waiting."""
    return not await inspector.fetchval("SELECT count(*) FROM chats WHERE status <> 'waiting'")
