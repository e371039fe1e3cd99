"""Claims: a worker takes pending chats."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from chatd.domain.transitions import Transition
from chatd.store import sql
from chatd.store.commits import NO_LISTENER, CommitListener
from chatd.store.database import Database
from chatd.store.records import TransitionResult
from chatd.telemetry import tracing

_Q = sql.load("claims")

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Claim:
    """A chat that was just claimed."""

    result: TransitionResult
    turn_seconds_left: float | None
    """Seconds that its turn may still last, if it was deferred. Negative: it may not go on."""
    pending_seconds: float
    """Seconds since the transition that made the chat pending, or since its next attempt was due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineBounds:
    """Lower bounds of the part of the line that a claim reads."""

    round: int = 0
    pending_since: datetime = _LONG_AGO
    """Bound of a claim that takes the oldest first."""


WHOLE_LINE = LineBounds()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimBatch:
    """The chats that one statement claimed, and what it saw of the others."""

    claims: tuple[Claim, ...]
    candidates_left: bool
    """There were more candidates than the limit of the claim."""
    claimed_round: int
    """Round that the line had reached. No new chat gets a lower one."""
    oldest_pending: datetime
    """Since when the oldest pending chat is pending. For a claim that takes the oldest first."""
    next_due_in_seconds: float | None
    """Seconds until the next deferred chat is due. None: there is none."""


class Claims:
    """Store for claims of one worker."""

    def __init__(
        self, database: Database, *, worker_id: UUID, listener: CommitListener = NO_LISTENER
    ) -> None:
        self._database = database
        self._listener = listener
        self._worker_id = worker_id

    async def claim(
        self,
        limit: int,
        *,
        models: tuple[UUID, ...],
        suspect_recoveries: int,
        suspects: int = 1,
        oldest_first: bool = False,
        bounds: LineBounds = WHOLE_LINE,
        advance: bool = True,
    ) -> ClaimBatch:
        """Claim up to ``limit`` pending chats of these models, in fair order.

        At most ``suspects`` of them have lost ``suspect_recoveries`` workers. A claim that leaves chats in
        the line advances the round that new chats come after. One that leaves none does so if ``advance``.
        """
        rows = await self._database.fetch(
            _Q["claim"],
            worker_id=self._worker_id,
            limit=limit,
            models=models,
            suspect_recoveries=suspect_recoveries,
            suspects=suspects,
            oldest_first=oldest_first,
            from_round=bounds.round,
            from_time=bounds.pending_since,
            advance=advance,
            claim_traceparent=tracing.current_traceparent(),
        )
        seen = rows[0]
        return ClaimBatch(
            claims=tuple(
                Claim(
                    self._listener.committed(row, Transition.CLAIM, self._worker_id),
                    row["turn_seconds_left"],
                    max(row["pending_seconds"], 0.0),
                )
                for row in rows
                if row["id"] is not None
            ),
            candidates_left=seen["candidates_left"],
            claimed_round=seen["claimed_round"],
            oldest_pending=seen["oldest_pending"],
            next_due_in_seconds=seen["next_due_in"],
        )
