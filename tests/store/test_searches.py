"""Searches are bounded in number and in time."""

import asyncio

import pytest
from support.eventually import eventually

from chatd.domain.errors import SearchUnavailable
from chatd.store.chat_lists import ChatFilter
from chatd.store.database import Database
from chatd.store.searches import Searches
from chatd.store.sql import Query

SLEEP = Query("sleep", "SELECT pg_sleep($1::float8)", ("seconds",))


def searches(database: Database, **more: float) -> Searches:
    return Searches(database, **({"wait_seconds": 0.05} | more))  # type: ignore[arg-type]


async def test_all_owners_together_leave_connections_for_the_rest(database: Database) -> None:
    bounded = searches(database, max_running=100)
    async with asyncio.TaskGroup() as group:
        for _ in range(database.pool_size - 1):
            group.create_task(bounded.fetch(SLEEP, seconds=1.5))
        await eventually(lambda: database.connections_in_use == database.pool_size - 1)
        with pytest.raises(SearchUnavailable):
            await bounded.fetch(SLEEP, seconds=0)
        assert await database.fetch("SELECT 1")
        assert database.connections_in_use == database.pool_size - 1


async def test_search_that_takes_too_long_ends_on_the_server(database: Database) -> None:
    bounded = searches(database, timeout_seconds=0.1)
    with pytest.raises(SearchUnavailable):
        await bounded.fetch(SLEEP, seconds=62)
    assert not await database.fetch(
        "SELECT FROM pg_stat_activity WHERE query LIKE '%pg_sleep($1%' AND state = 'active'"
        " AND pid <> pg_backend_pid() AND datname = current_database()"
    )


@pytest.mark.parametrize(
    ("chat_filter", "is_search"),
    [
        (ChatFilter(), False),
        (ChatFilter(archived=True), False),
        (ChatFilter(title_contains="a"), True),
        (ChatFilter(labels=[("a", "b")]), True),
        (ChatFilter(label_names=["a"]), True),
        (ChatFilter(statuses=["error"]), True),  # type: ignore[list-item]
        (ChatFilter(parent="none"), True),
    ],
)
def test_filters_that_may_skip_many_chats_make_a_search(
    chat_filter: ChatFilter, is_search: bool
) -> None:
    assert chat_filter.is_search is is_search
