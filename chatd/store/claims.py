"""Claims: a worker takes pending chats."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from uuid import UUID

import asyncpg

from chatd.domain.failure import unreadable_failure
from chatd.domain.transitions import Transition
from chatd.store import sql
from chatd.store.commands import Fail
from chatd.store.commits import NO_LISTENER, CommitListener
from chatd.store.containment import Containment
from chatd.store.database import Database
from chatd.store.database_errors import is_caused_by_data
from chatd.store.histories import ChatHistory
from chatd.store.limits import ChatLimits
from chatd.store.records import Row, TransitionResult
from chatd.telemetry import tracing
from chatd.telemetry.metrics import ContainmentMetrics

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
    history: ChatHistory | None = None
    """The chat's history. None: it is not known, and has to be read."""


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
        self,
        database: Database,
        *,
        worker_id: UUID,
        limits: Callable[[], ChatLimits] = ChatLimits,
        listener: CommitListener = NO_LISTENER,
        containment_metrics: ContainmentMetrics | None = None,
    ) -> None:
        self._containment = Containment[UUID]("claimer", containment_metrics)
        self._database = database
        self._limits = limits
        self._listener = listener
        self.worker_id = worker_id

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
        A chat whose data make the claim fail is left out. One that cannot be read once it is claimed fails.
        """

        async def claim(only: Sequence[UUID] | None) -> Sequence[asyncpg.Record]:
            return await self._database.fetch(
                _Q["claim"],
                worker_id=self.worker_id,
                limit=limit,
                models=models,
                suspect_recoveries=suspect_recoveries,
                suspects=suspects,
                oldest_first=oldest_first,
                from_round=bounds.round,
                from_time=bounds.pending_since,
                advance=advance,
                claim_traceparent=tracing.current_traceparent(),
                excluded=self._containment.cut_keys,
                only=only,
            )

        async def candidates() -> Sequence[UUID]:
            return (await claim([]))[0]["due_ids"] or []

        rows = await self._containment.run_or_split(claim, candidates, key=lambda one: one)
        rows = rows or await claim([])
        seen = rows[0]
        claimed = [row for row in rows if row["id"] is not None]
        claims = self._containment.read_each(claimed, self._to_claim, key=itemgetter("id"))
        if len(claims) < len(claimed):
            await self._fail_unreadable(claimed, claims)
        return ClaimBatch(
            claims=tuple(claims),
            candidates_left=seen["candidates_left"],
            claimed_round=seen["claimed_round"],
            oldest_pending=seen["oldest_pending"],
            next_due_in_seconds=seen["next_due_in"],
        )

    def is_cut(self, chat_id: UUID) -> bool:
        """Return whether claims leave this chat out now, because its data made one fail."""
        return self._containment.is_cut(chat_id)

    async def committed_with_claim(
        self,
        row: Row,
        transition: Transition,
        start: Callable[[TransitionResult, TransitionResult], None],
    ) -> TransitionResult:
        """Return the result of a caller's transition, after ``start`` got that of its claim, too.

        A chat that cannot be read fails, like one that was claimed by a statement of its own.
        """
        try:
            return self._listener.committed_with_claim(row, transition, self.worker_id, start)
        except Exception as error:
            if is_caused_by_data(error):
                self._containment.cut(row["id"], error)
                await self._fail_unreadable([row], [])
            raise

    def _to_claim(self, row: asyncpg.Record) -> Claim:
        return Claim(
            self._listener.committed(row, Transition.CLAIM, self.worker_id),
            row["turn_seconds_left"],
            max(row["pending_seconds"], 0.0),
        )

    async def _fail_unreadable(self, claimed: Sequence[Row], claims: Sequence[Claim]) -> None:
        """Fail the chats that were claimed and cannot be read, rather than have their leases run out."""
        readable = {claim.result.chat.id for claim in claims}
        for row in claimed:
            if row["id"] not in readable:
                failure = unreadable_failure()
                command = Fail(
                    step=row["committed_steps"],
                    last_error=failure.message,
                    last_error_detail=failure.detail(attempts=1, at=datetime.now(UTC)),
                    settled_part=row["settled_part"],
                )
                fence = {"chat_id": row["id"], "worker_id": self.worker_id, "epoch": row["epoch"]}
                with self._containment.guard(row["id"]):
                    for failed in await self._database.fetch(
                        command.query,
                        **fence,
                        **command.parameters(),
                        limits=self._limits().of_owner,
                    ):
                        self._listener.admitted(failed, row["owner_id"])
