"""Random actions of workers and callers on the chat of ``hub_model``.

Each action is a method of two numbers, and does nothing where it is not possible.
"""

from dataclasses import replace
from uuid import UUID

from chatd.domain.chat import Status
from chatd.domain.journal import JournalEntry
from chatd.domain.message import Role
from chatd.domain.transitions import Transition
from chatd.fanout.hub import ChatHub
from chatd.fanout.topic import Preview
from support.hub_model import CHAT, Attempt, ModelClient, ModelDatabase, delta

HERE, THERE = UUID(int=2), UUID(int=3)
"""The worker of the replica under test, and that of another one."""


class HubWorkload:
    """The chat, the hub under test, and what has yet to reach it."""

    def __init__(self, *, lossless: bool, buffer: int) -> None:
        self.database = ModelDatabase()
        self.clients = [ModelClient(self.database) for _ in range(3)]
        self.unpublished: list[JournalEntry] = []
        """Entries that callers of this replica committed, which may arrive out of order."""
        self.undelivered_hints: list[int | None] = []
        self.fenced_attempts: list[tuple[Attempt, Preview]] = []
        """Attempts that run here although their lease is lost."""
        self.ending_epochs: list[int] = []
        """Epochs of runners here that have lost or released their chat, and not ended yet."""
        self.is_stale = False
        self.lossless = lossless
        self.hub = ChatHub(subscriber_buffer=buffer)
        self.hub.on_stale = self._mark_stale
        self.database.apply(Transition.CREATE, Status.PENDING, Role.USER, text="hello")

    def _mark_stale(self) -> None:
        self.is_stale = True

    # -- the worker, here or elsewhere ---------------------------------------------------------

    def claim(self, a: int, b: int) -> None:
        """Claim the chat. A runner here may begin before its predecessor has ended."""
        if self.database.status is not Status.PENDING:
            return
        worker_id = HERE if a % 2 else THERE
        if worker_id == HERE and b % 2:
            self.end_runner()
        database = self.database
        database.epoch += 1
        database.worker_id, database.settled_part = worker_id, 0
        entry = database.apply(Transition.CLAIM, Status.RUNNING)
        self._publish_worker_transition(entry, worker_id)
        self._start_step()

    def stream(self, a: int, b: int) -> None:
        running = self.database.running
        if running is None:
            return
        for word in "abcabcab"[a : a + 1 + b % 3]:
            running.words.append(word)
            if running.preview is not None:
                self.hub.publish_part(CHAT, running.preview, delta(word))

    def flush(self, _a: int, _b: int) -> None:
        running = self.database.running
        if running is None:
            return
        running.flushed = len(running.words)
        if running.preview is None:
            self.undelivered_hints.append(None)

    def next_step(self, a: int, b: int) -> None:
        """End a step, and begin another."""
        database, running = self.database, self.database.running
        if running is None or database.status is not Status.RUNNING:
            return
        outcome = (*("answer", "tools", "compaction") * 2, "retry", "next turn")[a % 8]
        if outcome in {"tools", "compaction"} and running.words:
            outcome = "retry"  # These steps stream nothing.
        settled_part = database.end_attempt()
        match outcome:
            case "answer":
                entry = database.apply(
                    Transition.COMMIT_STEP,
                    Status.RUNNING,
                    Role.ASSISTANT,
                    text=running.text,
                    settled_part=settled_part,
                    notices=[{"server": "time", "message": "it is not available"}],
                )
            case "tools":
                entry = database.apply(
                    Transition.COMMIT_STEP, Status.RUNNING, Role.TOOL, settled_part=settled_part
                )
            case "compaction":
                entry = database.apply(
                    Transition.COMPACT,
                    Status.RUNNING,
                    Role.ASSISTANT,
                    compacted_until=1,
                    settled_part=settled_part,
                )
            case "retry":
                entry = database.apply(
                    Transition.RECORD_RETRY,
                    Status.RUNNING,
                    attempt=1,
                    delay_seconds=0,
                    next_attempt_at="2026-01-01T00:05:00Z",
                    failure={},
                    settled_part=settled_part,
                )
            case _:
                entry = database.apply(
                    Transition.FINISH_TURN,
                    Status.RUNNING,
                    Role.ASSISTANT,
                    Role.USER,
                    text=running.text,
                    promoted=1,
                    queue_length=0,
                    settled_part=settled_part,
                )
        self._publish_worker_transition(entry, database.worker_id, has_response=b > 1)
        self._start_step()

    def close_calls(self, _: int, b: int) -> None:
        """Store the result of a server tool. No model call runs meanwhile, so there are no parts."""
        database, running = self.database, self.database.running
        if running is None or database.status is not Status.RUNNING or running.words:
            return
        entry = database.apply(Transition.CLOSE_CALLS, Status.RUNNING, closed=[])
        self._publish_worker_transition(entry, database.worker_id, has_response=b > 1)

    def end_turn(self, a: int, b: int) -> None:
        database, running, worker_id = self.database, self.database.running, self.database.worker_id
        if running is None:
            return
        outcome = ("finished", "failed", "released", "requires action")[a % 4]
        if database.status is Status.INTERRUPTING:
            outcome = "interrupted"
        settled_part = database.end_attempt(settles_parts=outcome != "released")
        has_answer = outcome in {"finished", "requires action"} or (a and running.words)
        roles = (Role.ASSISTANT,) if has_answer else ()
        database.worker_id = None
        match outcome:
            case "finished":
                transition, status = Transition.FINISH_TURN, Status.WAITING
            case "interrupted":
                transition, status = Transition.FINISH_INTERRUPT, Status.WAITING
            case "requires action":
                transition, status = Transition.REQUIRE_ACTION, Status.REQUIRES_ACTION
            case "failed":
                transition, status, roles = Transition.FAIL, Status.ERROR, ()
            case _:
                transition, status, roles = Transition.RELEASE, Status.PENDING, ()
        data = {
            Transition.REQUIRE_ACTION: {"calls": [], "deadline": "2026-01-01T00:05:00Z"},
            Transition.FAIL: {"last_error": "no", "last_error_detail": None},
            Transition.RELEASE: {"reason": "test"},
        }.get(transition, {})
        entry = database.apply(
            transition, status, *roles, text=running.text, settled_part=settled_part, **data
        )
        self._publish_worker_transition(entry, worker_id, has_response=b > 1)
        self.ending_epochs += [database.epoch] if worker_id == HERE else []

    def end_runner(self, _a: int = 0, _b: int = 0) -> None:
        for epoch in self.ending_epochs:
            self.hub.end_steps(CHAT, epoch=epoch)
        self.ending_epochs, self.fenced_attempts = [], []

    def stream_fenced(self, a: int, _: int) -> None:
        """Stream from a runner here that does not know yet that it has lost its lease."""
        if not self.fenced_attempts:
            return
        word = "xyz"[a % 3]
        fenced, preview = self.fenced_attempts[-1]
        (attempt,) = (
            attempt
            for attempt in self.database.attempts
            if (attempt.epoch, attempt.base) == (fenced.epoch, fenced.base)
        )
        attempt.words.append(word)
        self.hub.publish_part(CHAT, preview, delta(word))

    def _start_step(self) -> None:
        running = self.database.start_attempt()
        if self.database.worker_id == HERE:
            running.preview = self.hub.start_step(CHAT, epoch=running.epoch, base=running.base)

    def _publish_worker_transition(
        self, entry: JournalEntry, worker_id: UUID | None, *, has_response: bool = True
    ) -> None:
        """Publish at once; a worker here whose response was lost only knows the chat's version."""
        if worker_id != HERE:
            self.undelivered_hints.append(entry.version)
        elif has_response:
            self.hub.publish(entry)
        else:
            self.hub.handle_hint(CHAT, entry.version)

    # -- another replica's reaper --------------------------------------------------------------

    def reap(self, _a: int, _b: int) -> None:
        """Take the chat from its worker. A worker here does not know, and goes on."""
        database, running = self.database, self.database.running
        if running is None:
            return
        stopping = database.status is Status.INTERRUPTING
        settled_part = database.end_attempt(settles_parts=False)
        if stopping:
            settled_part = max(settled_part, running.base + running.flushed)
        database.worker_id = None
        self._keep_fenced_attempt(running)
        if stopping:
            text = "".join(running.words[: running.flushed])
            roles = (Role.ASSISTANT,) if text else ()
            entry = database.apply(
                Transition.REAP_INTERRUPT,
                Status.WAITING,
                *roles,
                text=text,
                settled_part=settled_part,
            )
        else:
            entry = database.apply(
                Transition.REAP,
                Status.PENDING,
                reason="x",
                recoveries=1,
                settled_part=settled_part,
            )
        self.undelivered_hints.append(entry.version)

    def _keep_fenced_attempt(self, attempt: Attempt) -> None:
        if attempt.preview is not None:
            self.fenced_attempts.append((replace(attempt), attempt.preview))
            self.ending_epochs.append(attempt.epoch)

    # -- callers -------------------------------------------------------------------------------

    def describe(self, a: int, _: int) -> None:
        entry = self.database.apply(
            Transition.DESCRIBE, self.database.status, title="t", labels={}, archived=False
        )
        self._publish_caller_transition(entry, here=bool(a % 2))

    def send(self, a: int, _: int) -> None:
        database = self.database
        if database.status in {Status.WAITING, Status.ERROR}:
            entry = database.apply(
                Transition.SEND, Status.PENDING, Role.USER, text="more", queue_length=0
            )
        elif database.status is Status.REQUIRES_ACTION:
            entry = database.apply(
                Transition.SUBMIT_TOOL_RESULTS, Status.PENDING, Role.TOOL, answered=[]
            )
        else:
            entry = database.apply(Transition.SEND, database.status, queued=1, queue_length=1)
        self._publish_caller_transition(entry, here=bool(a % 2))

    def interrupt(self, a: int, _: int) -> None:
        if self.database.status is Status.RUNNING:
            entry = self.database.apply(Transition.INTERRUPT, Status.INTERRUPTING)
            self._publish_caller_transition(entry, here=bool(a % 2))

    def edit(self, a: int, b: int) -> None:
        """Edit a message. The worker is fenced, and does not know."""
        database, running = self.database, self.database.running
        if running is not None:
            database.end_attempt(settles_parts=False)
            self._keep_fenced_attempt(running)
        database.epoch += 1
        database.worker_id, database.settled_part = None, 0
        removed = {"removed": [1]} if b % 2 else {}
        entry = database.apply(
            Transition.EDIT, Status.PENDING, Role.USER, text="instead",
            reset_from=1, queue_length=0, **removed,
        )  # fmt: skip
        self._publish_caller_transition(entry, here=bool(a % 2))

    def _publish_caller_transition(self, entry: JournalEntry, *, here: bool) -> None:
        if here:
            self.unpublished.append(entry)
        else:
            self.undelivered_hints.append(entry.version)

    def prune_journal(self, a: int, _: int) -> None:
        database = self.database
        database.oldest_version = max(database.oldest_version, database.version - a)
