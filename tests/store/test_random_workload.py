"""Random concurrent transitions: in any order, invariants hold and no statement waits for ever."""

import asyncio
import random
from uuid import UUID, uuid4

import pytest
from support.claims import claim_chats
from support.concurrency import (
    WAIT_SECONDS,
    fencing_token,
    gather_all,
    insert_chats,
    row_locked,
    wait_until_blocked,
)
from support.factories import (
    MODEL,
    OWNER,
    REGISTRATION,
    WORKER,
    chat_with_status,
    insert_models,
    text_content,
)
from support.invariants import check_all, has_no_duplicates, texts
from support.random_workload import RandomWorkload
from support.sweeps import delete_expired
from support.trials import trials

from chatd.domain.chat import Chat, Status
from chatd.domain.errors import ChatTreeBusy, Refused
from chatd.domain.transitions import Transition
from chatd.store.chats import Chats
from chatd.store.claims import Claim
from chatd.store.commands import CommitStep, FinishTurn
from chatd.store.database import Database
from chatd.store.leases import ActivityReport, Leases
from chatd.store.stream_reads import PartBatch, StreamStore
from chatd.store.sweeps import JOURNAL, PARTS
from chatd.store.turns import FencingToken, Turns


@pytest.mark.parametrize("seed", range(1, trials(2) + 1))
async def test_random_workload_keeps_the_invariants(wide: Database, seed: int) -> None:
    workload = RandomWorkload(wide, seed)
    await workload.start(6)
    draining = asyncio.Event()

    async def work() -> None:
        while not draining.is_set() or await wide.fetch(
            "SELECT FROM chats WHERE worker_id IS NOT NULL"
            " OR status IN ('pending', 'requires_action', 'parked') LIMIT 1"
        ):
            await workload.worker(uuid4(), draining)

    async def call() -> None:
        await gather_all(*(workload.caller(number) for number in range(6)))
        draining.set()

    await gather_all(
        call(), work(), work(), work(), workload.reaper(draining), workload.reaper(draining)
    )

    assert await check_all(wide) > workload.transition_count > 100
    stored = texts(await wide.fetch("SELECT * FROM chat_messages ORDER BY id"))
    queued = texts(await wide.fetch("SELECT *, 'user' AS role FROM chat_queued_messages"))
    dropped = [
        queued_id
        for row in await wide.fetch("SELECT data->'removed' AS ids FROM chat_events")
        for queued_id in row["ids"] or ()
    ]
    assert has_no_duplicates(stored + queued)
    assert set(stored + queued) <= set(workload.sent_texts)
    assert (
        len(stored + queued) + len(dropped)
        == len(workload.sent_texts)
        == len(set(workload.sent_texts))
    )
    transitions_made = {
        row["transition"] for row in await wide.fetch("SELECT DISTINCT transition FROM chat_events")
    }
    # Changes of a queue are tried as well, and whether one is long enough depends on the machine.
    assert transitions_made >= {
        Transition.SEND,
        Transition.INTERRUPT,
        Transition.CLEAR,
        Transition.REQUIRE_ACTION,
        Transition.PARK,
        Transition.WAKE,
    }
    assert {Transition.EDIT, Transition.REGENERATE} & transitions_made
    statuses = {row["status"] for row in await wide.fetch("SELECT status FROM chats")}
    assert statuses <= {"waiting", "error"}
    await delete_expired(wide, PARTS)
    assert await wide.fetch("SELECT FROM chat_parts") == []


# -- deadlocks ---------------------------------------------------------------------------------------


async def test_fifty_creates_through_a_pool_of_two(dsn: str) -> None:
    small = Database(dsn, pool_size=2, statement_timeout_seconds=WAIT_SECONDS)
    await small.open()
    try:
        await insert_models(small)
        chats = Chats(small)
        created = await gather_all(
            *(
                chats.create(owner_id=OWNER, model_config_id=MODEL, content=text_content(str(n)))
                for n in range(50)
            )
        )
        assert len({result.chat.id for result in created}) == 50
        assert await check_all(small) == 50
    finally:
        await small.close()


async def family_of(database: Database, statuses: list[Status]) -> list[Chat]:
    """Return a root and its children, in the order of their ids."""
    root = await chat_with_status(database, statuses[0])
    return [
        root,
        *[
            await chat_with_status(database, status, root_chat_id=root.id, parent_chat_id=root.id)
            for status in statuses[1:]
        ],
    ]


async def test_archive_of_a_busy_tree_does_not_wait(database: Database) -> None:
    """A heartbeat locks several chats in any order, so an archive that waited could deadlock with it."""
    root, child = await family_of(database, [Status.WAITING, Status.RUNNING])
    async with row_locked(database, child), asyncio.timeout(WAIT_SECONDS / 2):
        with pytest.raises(ChatTreeBusy):
            await Chats(database).archive(root.id, owner_id=OWNER)


async def test_archive_is_refused_if_a_chat_of_the_tree_starts_meanwhile(
    database: Database,
) -> None:
    root, child = await family_of(database, [Status.WAITING, Status.WAITING])
    async with row_locked(database, child) as other:
        archive = asyncio.create_task(Chats(database).archive(root.id, owner_id=OWNER))
        await wait_until_blocked(other)
        await other.execute(
            "UPDATE chats SET version = version + 1, status = 'pending',"
            " pending_since = clock_timestamp() WHERE id = $1",
            child.id,
        )
    async with asyncio.timeout(WAIT_SECONDS):
        with pytest.raises(ChatTreeBusy):
            await archive
    assert not await database.fetch("SELECT FROM chats WHERE archived")


class FamilyWorkload:
    """A root chat and its children, archived, unarchived, sent to, worked and renewed concurrently."""

    def __init__(self, database: Database, family: list[Chat]) -> None:
        self.database, self.family = database, family
        self.chats = Chats(database)
        self.random = random.Random(7)
        self.finished = asyncio.Event()
        self.counts = {"archived": 0, "busy": 0, "sent": 0, "refused": 0}

    async def archive(self) -> None:
        attempts = 0
        # Once no message is sent any more, an archive must succeed.
        while attempts < 60 or not self.counts["archived"]:
            chat = self.random.choice(self.family)
            attempts += 1
            try:
                await self.chats.archive(chat.id, owner_id=OWNER, archived=attempts % 2 == 1)
            except ChatTreeBusy:
                self.counts["busy"] += 1
                continue
            self.counts["archived"] += 1

    async def send(self) -> None:
        for _ in range(60):
            chat = self.random.choice(self.family)
            try:
                await self.chats.send(chat.id, owner_id=OWNER, content=text_content("hello"))
            except Refused:
                self.counts["refused"] += 1
                continue
            self.counts["sent"] += 1

    async def work(self) -> None:
        leases, turns = Leases(self.database, worker_id=WORKER), Turns(self.database)
        async with self.database.dedicated_connection() as connection:
            await leases.register(connection, REGISTRATION)
            claims: list[Claim] = []
            while claims or not self.finished.is_set():
                claims = await claim_chats(self.database, 10)
                reports = [
                    ActivityReport(claim.result.chat.id, claim.result.chat.epoch)
                    for claim in claims
                ]
                self.random.shuffle(reports)
                held = {(report.chat_id, report.epoch) for report in reports}
                renewals = await leases.renew(connection)
                assert renewals is not None
                assert {(renewal.chat_id, renewal.epoch) for renewal in renewals.chats} >= held
                assert await leases.report_activity(reports) <= held
                for claim in claims:
                    result, fence = claim.result, fencing_token(claim.result)
                    while result.chat.status is Status.RUNNING:
                        step = result.chat.committed_steps
                        result = await turns.apply(
                            fence, FinishTurn(step=step, messages=[], settled_part=0)
                        )

    async def check_archived(self) -> None:
        while not self.finished.is_set():
            (row,) = await self.database.fetch(
                "SELECT count(*) FILTER (WHERE archived) AS archived FROM chats"
            )
            assert row["archived"] in {0, 6}, "all chats of the family, or none"

    async def callers(self) -> None:
        await gather_all(self.archive(), self.archive(), self.send(), self.send(), self.send())
        self.finished.set()


async def test_trees_are_archived_whole_during_sends(wide: Database) -> None:
    workload = FamilyWorkload(wide, await family_of(wide, [Status.WAITING] * 6))
    await gather_all(workload.callers(), workload.work(), workload.check_archived())
    assert workload.counts["archived"], workload.counts
    assert workload.counts["busy"], workload.counts
    assert workload.counts["sent"], workload.counts


async def test_prunes_and_transitions_do_not_deadlock(wide: Database) -> None:
    """Parts are deleted by transitions of their chat, and by the prunes of all replicas."""
    ids = await insert_chats(wide, 20, Status.RUNNING)
    streams, turns = StreamStore(wide), Turns(wide)

    async def turn(chat_id: UUID) -> None:
        settled = 0
        for step in range(12):
            parts = [{"index": 0, "type": "text", "text": "x"}]
            await streams.flush_parts(
                [PartBatch(chat_id, 1, settled + n, parts) for n in range(1, 8)]
            )
            result = await turns.apply(
                FencingToken(chat_id, WORKER, 1),
                CommitStep(step=step, messages=[], settled_part=settled + 7),
            )
            settled = result.chat.settled_part
            # parts that were flushed late, for the prune
            await wide.fetch(
                "INSERT INTO chat_parts SELECT $1, 0, n, n, '[{}]' FROM generate_series($2::int, $2 + 5) n",
                chat_id,
                settled,
            )

    over = asyncio.Event()

    async def sweep() -> None:
        while not over.is_set():
            await delete_expired(wide, PARTS)
            await delete_expired(wide, JOURNAL, retention_seconds=0.05, limit=50)

    async def work() -> None:
        await gather_all(*map(turn, ids))
        over.set()

    await gather_all(work(), *(sweep() for _ in range(4)))
    remaining = await wide.fetch(
        "SELECT chat_id, array_agg(version ORDER BY version) AS versions"
        " FROM chat_events GROUP BY chat_id"
    )
    for row in remaining:  # what is left has no gap
        assert row["versions"] == list(range(row["versions"][0], 14))
