"""Plans of the statements for many chats."""

from uuid import UUID

import pytest
from support.factories import MODEL, OWNER, WORKER, insert_models
from support.query_plans import indexes, kinds, nodes, plan, scanned

from chatd.store.database import Database
from chatd.store.files import file_parameters

FILL = f"""
INSERT INTO chats (id, root_chat_id, owner_id, last_model_config_id)
SELECT id, id, 'owner ' || n % 40, '{MODEL}'
FROM (SELECT n, gen_random_uuid() AS id FROM generate_series(1, 3000) n) made;
ANALYZE chats
"""
"""Chats of an idle system: the index of leased chats is empty, and seems the cheapest."""


@pytest.mark.parametrize(
    ("fill", "generic"),
    [(FILL, False), (FILL, True), ("SELECT", True)],
    ids=["custom", "generic", "generic, of an empty table"],
)
async def test_batches_find_each_chat_by_its_id(
    database: Database, fill: str, generic: bool
) -> None:
    """Not by the worker or the owner, whose chats would all be read for each that is looked for.

    A connection keeps the generic plan of an empty table while that grows, until it is analyzed.
    """
    await insert_models(database)
    chats = [UUID(int=number) for number in range(16)]
    nothing = [None] * len(chats)
    limits = {"max_active_chats": 1000, "max_owner_bytes": 10**9}
    ends = {
        "chat_ids": chats,
        "worker_ids": [WORKER] * len(chats),
        "epochs": [1] * len(chats),
        "steps": [0] * len(chats),
        "settled_parts": [0] * len(chats),
        "messages": ["[]"] * len(chats),
        "limits": limits,
        **file_parameters([]),
    }
    messages = {
        "chat_ids": chats,
        "owner_ids": [OWNER] * len(chats),
        "contents": ["[]"] * len(chats),
        "first_words": [""] * len(chats),
        **dict.fromkeys(
            (
                "model_config_ids",
                "tools_versions",
                "request_traceparents",
                "claim_traceparents",
                "actor_owner_ids",
                "actor_token_ids",
                "idempotency_owners",
                "idempotency_keys",
                "request_hashes",
            ),
            nothing,
        ),
        "worker_id": WORKER,
        "models": [MODEL],
        "advance": True,
        "limits": limits,
        "turns_under_way": 256,
        **file_parameters([]),
    }
    asks = {("turns", "finish_turn"): ends, ("claims", "send_and_claim"): messages}
    async with database.dedicated_connection() as filled:
        await filled.execute(fill)
        for (file, name), values in asks.items():
            result = await plan(filled, file, name, **values, generic=generic)
            assert "chats" not in scanned(result), name
            found_by = {index for index in indexes(result) if index.startswith("chats_")}
            assert found_by - {"chats_held_idx"} == {"chats_pkey"}, name
            locks = [node for node in nodes(result) if node["Node Type"] == "LockRows"]
            assert [kinds(lock) for lock in locks] == [{"LockRows", "Tid Scan"}], name
            assert "Memoize" not in kinds(result), "it would admit one held chat for several turns"
