"""The cost of a scrape in a process with many leased chats."""

import time
from threading import get_native_id

from support.eventually import eventually
from support.factories import text_content
from support.in_process import running_daemon
from support.metrics import parse_samples
from support.providers import scripted
from support.scheduling_delay import thread_run_queue_seconds

from chatd.store.database import Database

CHATS, SCRAPES = 1000, 20
SOON_SECONDS = 0.05

MANY = """
WITH made AS (
    INSERT INTO chats (id, root_chat_id, owner_id, last_model_config_id, status, pending_since, round)
    SELECT id, id, 'owner ' || n % 200, $1, 'pending', clock_timestamp(), chat_next_round('')
    FROM (SELECT n, gen_random_uuid() AS id FROM generate_series(1, $2::int) n) numbered
    RETURNING id
)
INSERT INTO chat_messages (chat_id, id, version, role, content)
SELECT id, chat_message_id(1, 1), 1, 'user', $3 FROM made
"""


async def test_scrape_with_thousand_leased_chats_is_fast(dsn: str, database: Database) -> None:
    """The fastest of many scrapes is its cost, without the time that it waited for a processor."""
    full = {"max_chats": 2 * CHATS, "poll_seconds": 0.1}  # a claim takes half of the free slots
    provider = scripted([{"hang": True}])
    async with running_daemon(dsn, provider, worker=full) as chatd:
        model = chatd.daemon.catalog.default.id
        await database.fetch(MANY, model, CHATS, text_content("hello"))
        for count in range(100, CHATS + 1, 100):  # as long as there is progress
            await eventually(lambda count=count: provider.open_streams >= count)
        loop, durations = get_native_id(), []
        for _ in range(SCRAPES):
            queued, began = thread_run_queue_seconds(loop), time.perf_counter()
            answer = await chatd.api.http.get("/metrics")
            durations.append(
                time.perf_counter() - began - (thread_run_queue_seconds(loop) - queued)
            )
            assert parse_samples(answer.text).sum_of("chatd_leased_chats") == CHATS
        assert min(durations) < SOON_SECONDS, sorted(durations)
