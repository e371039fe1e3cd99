"""What operators see of one process, put together from what its parts know of themselves."""

import os
import platform
import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

import anyio

from chatd import __version__
from chatd.api.status import (
    ActorOut,
    DatabaseStatsOut,
    LeasedChatOut,
    PoolOut,
    ProcessStatusOut,
    Versions,
)
from chatd.daemon.census_taker import CensusTaker
from chatd.daemon.loop_watch import LoopWatch
from chatd.daemon.rooms import Rooms
from chatd.supervision.keeper import ChildSnapshot
from chatd.work.hand import Lease
from chatd.work.outlook import seconds_since_progress
from chatd.work.roster import ChatTaskPool

Actors = Callable[[], Sequence[ChildSnapshot]]


class Panel:
    """The status of this process."""

    def __init__(
        self,
        rooms: Rooms,
        *,
        worker_id: UUID,
        roster: ChatTaskPool | None,
        actors: Actors,
        census: CensusTaker,
        loop_watch: LoopWatch,
        phase: Callable[[], str],
    ) -> None:
        self._rooms = rooms
        self._worker_id = worker_id
        self._roster = roster
        self._actors = actors
        self._census = census
        self._loop_watch = loop_watch
        self._phase = phase
        self._started_at = datetime.now(UTC)

    def status(self) -> ProcessStatusOut:
        """As it is now."""
        now, database = datetime.now(UTC), self._rooms.database
        hands: tuple[Lease, ...] = ()
        room = 0
        if self._roster is not None:
            hands, room = self._roster.leases, max(self._roster.free_slots, 0)
        return ProcessStatusOut(
            worker_id=self._worker_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            phase=self._phase(),
            started_at=self._started_at,
            uptime_seconds=(now - self._started_at).total_seconds(),
            versions=self._versions(),
            actors=[_actor(one) for one in self._actors()],
            chats=[_hand(hand, now) for hand in hands],
            free_slots=room,
            streams=self._rooms.hub.subscriber_count + self._rooms.list_hub.subscriber_count,
            pool=PoolOut(
                size=database.pool_size,
                in_use=database.connections_in_use,
                waiting=database.waiting_statements,
            ),
            loop_lag_seconds=self._loop_watch.lag_seconds,
            database_stats=self._counted(),
        )

    def _versions(self) -> Versions:
        taken = self._census.latest
        return Versions(
            chatd=__version__,
            python=platform.python_version(),
            postgresql=taken.count.server_version if taken else None,
        )

    def _counted(self) -> DatabaseStatsOut | None:
        taken = self._census.latest
        if taken is None:
            return None
        return DatabaseStatsOut(
            seconds_ago=anyio.current_time() - taken.at,
            chats=dict(taken.count.chats),
            oldest_pending_seconds=self._census.oldest_pending_seconds(),
            workers=taken.count.workers,
        )


def _actor(one: ChildSnapshot) -> ActorOut:
    return ActorOut(
        name=one.name,
        state=one.state,
        seconds=anyio.current_time() - one.since,
        restarts=one.restarts,
        budget_left=one.budget_left,
        last_error=one.last_error,
        note=one.status_note,
    )


def _hand(hand: Lease, now: datetime) -> LeasedChatOut:
    chat, seen = hand.chat, hand.progress.snapshot()
    return LeasedChatOut(
        chat_id=hand.fence.chat_id,
        status=chat.status,
        epoch=hand.fence.epoch,
        step=chat.committed_steps,
        leased_seconds=(now - chat.started_at).total_seconds() if chat.started_at else 0.0,
        stage=seen.stage,
        stage_seconds=seen.stage_age_seconds,
        deadline_seconds=seen.deadline_in_seconds,
        last_progress=seen.last_progress,
        seconds_since_progress=seconds_since_progress(hand),
        lease_left_seconds=hand.remaining_seconds,
    )
