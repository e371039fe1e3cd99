"""Baseline of a turn: chatd's own statements through bare asyncpg, and nothing else.

Create, claim, history, finish: the statements that any daemon with these guarantees must send. There is no
lease, no hint, no stream, no journal reader and no domain value.
"""

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from benchmarks.replica import ANSWER
from chatd.domain.transitions import Transition
from chatd.store import sql
from chatd.store.claims import WHOLE_LINE
from chatd.store.executor import NO_ACTOR
from chatd.store.files import file_parameters
from chatd.store.idempotency import NO_KEY

_CHATS, _CLAIMS, _TURNS = sql.load("chats"), sql.load("claims"), sql.load("turns")
POOL_SIZE = 10
"""The same as chatd's."""

_MODEL = "INSERT INTO chat_model_configs (id, name, provider, model) VALUES ($1, 'm', 'p', 'm')"


@dataclass(slots=True)
class BaselineStore:
    """A pool and a model. Each method is one statement."""

    pool: "asyncpg.Pool[asyncpg.Record]"
    model_id: UUID
    worker_id: UUID

    @classmethod
    async def open(cls, dsn: str) -> "BaselineStore":
        pool = await asyncpg.create_pool(
            dsn,
            min_size=POOL_SIZE,
            max_size=POOL_SIZE,
            reset=_skip_reset,
            server_settings={"jit": "off"},
        )
        store = cls(pool, uuid4(), uuid4())
        await pool.execute(_MODEL, store.model_id)
        return store

    async def create(self, content: str) -> UUID:
        messages = [_message("user", content, self.model_id)]
        rows = await self._fetch(
            _CHATS["create"],
            owner_id="local",
            title="",
            labels="{}",
            model_config_id=self.model_id,
            messages=json.dumps(messages),
            starts_turn=True,
            tools="[]",
            limits=None,
            request_traceparent=None,
            **file_parameters([]),
            **NO_KEY,
            **NO_ACTOR,
        )
        chat_id: UUID = rows[0]["id"]
        return chat_id

    async def claim(self) -> asyncpg.Record:
        """Claim any pending chat: there are as many as there are callers."""
        while True:
            rows = await self._fetch(
                _CLAIMS["claim"],
                worker_id=self.worker_id,
                limit=1,
                models=[self.model_id],
                excluded=[],
                only=None,
                suspect_recoveries=1,
                suspects=1,
                oldest_first=False,
                from_round=WHOLE_LINE.round,
                from_time=WHOLE_LINE.pending_since,
                advance=True,
                claim_traceparent=None,
            )
            for row in rows:
                if row["id"] is not None:
                    return row

    async def history(self, chat: asyncpg.Record) -> list[Any]:
        rows = await self._fetch(_TURNS["history"], chat_id=chat["id"])
        return [json.loads(row["content"]) for row in rows]

    async def finish(self, chat: asyncpg.Record) -> None:
        messages = [_message("assistant", ANSWER, self.model_id)]
        await self._fetch(
            _TURNS["finish"],
            chat_id=chat["id"],
            worker_id=self.worker_id,
            epoch=chat["epoch"],
            step=chat["committed_steps"],
            messages=json.dumps(messages),
            settled_part=8,
            limits=None,
            **file_parameters([]),
            transition=Transition.FINISH_TURN.value,
            from_status="running",
            keep_lease=True,
        )

    async def run_turn(self) -> None:
        await self.create("Which way to the station?")
        chat = await self.claim()
        await self.history(chat)
        await self.finish(chat)

    async def _fetch(self, query: sql.Query, **values: object) -> list[asyncpg.Record]:
        text, args = query.bind(**values)
        return await self.pool.fetch(text, *args)


def _message(role: str, text: str, model_id: UUID) -> dict[str, Any]:
    return {
        "role": role,
        "content": [{"type": "text", "text": text}],
        "visibility": "both",
        "model_config_id": str(model_id),
        "finish_reason": None,
        "usage": None,
    }


async def _skip_reset(_connection: object) -> None:
    """Skip the reset of the session, as chatd does: it would be one more round trip."""
