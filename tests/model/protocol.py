"""Model of leases and transitions: workers that claim, renew, store and reap under faults.

Where a transition leads is read from the table of ``domain.transitions``, so that a change of the
table is explored at once. The rest is a second, small writing of ``worker`` and ``leases.sql``. Time is
counted in ticks of a lease, and a worker that can beat does so in each. Statements may be executed late,
after their worker has died or given up on them: a server finishes what a lost connection began.

``Rules`` has the protocol as it is. Each of its fields can be broken, to show that the model notices.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from chatd.domain.chat import IDLE, Status
from chatd.domain.transitions import Transition

LEASE_TICKS = 2
"""Ticks without a beat after which a lease is over."""
PRIVATE_TICKS = 1
"""Ticks left at which the worker itself stops: before others may take its chats."""
MAX_RECOVERIES = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The guarantees of the protocol, each of which can be broken, and the budgets of an exploration."""

    fence_by_epoch: bool = True
    fence_by_step: bool = True
    looks_needed: int = 2
    needs_evidence: bool = True
    """Only chats of a worker that looks dead are reaped; broken: any chat that runs."""
    pooled: bool = False
    """The sessions are behind a transaction pooler, so that a lock looks free while its holder lives."""
    lock_needs_proof: bool = True
    gives_up_deaf_tasks: bool = True
    """A chat whose task does not heed its cancellation is given back; broken: it is renewed for ever."""
    returns_unknown_claims: bool = True
    """A beat gives back chats that name this worker and have no task; broken: they stay leased."""
    wakes_parked_chats: bool = True
    """A chat that waits for others goes on once they are idle; broken: nothing looks at it."""
    faults: int = 2
    user_actions: tuple[int, ...] = (2, 0)
    """How often the user of each chat acts. The number of chats is that of the entries."""


class Message(StrEnum):
    """What has become of a message of a user."""

    __hash__ = str.__hash__

    UNSENT = "unsent"
    QUEUED = "queued"
    UNANSWERED = "unanswered"
    ANSWERED = "answered"
    STOPPED = "stopped"
    REPLACED = "replaced"


class Chat(NamedTuple):
    """A row of ``chats`` with its messages. ``holder`` is the number of a worker."""

    status: Status
    holder: int | None
    epoch: int
    recoveries: int
    messages: tuple[Message, ...]
    actions_left: int

    @property
    def has_queue(self) -> bool:
        """Return True if messages are queued."""
        return Message.QUEUED in self.messages

    @property
    def step(self) -> int | None:
        """The number of the message that is answered next."""
        return next((n for n, m in enumerate(self.messages) if m is Message.UNANSWERED), None)


class Phase(StrEnum):
    """What the task of a chat does."""

    __hash__ = str.__hash__

    CALLING = "calling"
    STORING = "storing"
    UNKNOWN = "unknown"
    """A statement got no response."""
    DEAF = "deaf"
    """The task was cancelled, and does not heed it."""


class Task(NamedTuple):
    """The task of a leased chat, and the step that it runs."""

    epoch: int
    step: int
    phase: Phase
    storing: Transition | None = None


class Life(StrEnum):
    """Whether a process runs."""

    __hash__ = str.__hash__

    UP = "up"
    PAUSED = "paused"
    GONE = "gone"


class Worker(NamedTuple):
    """A process, and its row of ``workers``. ``lease`` is the number of ticks until the lease is over."""

    life: Life
    connected: bool
    locked: bool
    lease: int
    silent: bool
    """It was paused or cut off, and has not beaten since."""
    looks: int
    """How many looks in a row found its lock free, without a beat between them."""
    tasks: tuple[Task | None, ...]

    @property
    def acts(self) -> bool:
        """Return True if the process can execute a statement now."""
        return self.life is Life.UP and self.connected

    @property
    def trusts_its_lease(self) -> bool:
        """Return True if the worker may begin something that must not happen twice."""
        return self.lease > PRIVATE_TICKS


class Statement(NamedTuple):
    """A worker's transition on its way to the server."""

    worker: int
    chat: int
    epoch: int
    step: int
    transition: Transition
    late: bool = False
    """Its connection broke. The server executes it all the same, and nobody waits for the response."""


class State(NamedTuple):
    """The whole system."""

    chats: tuple[Chat, ...]
    workers: tuple[Worker, ...]
    statements: frozenset[Statement]
    faults_left: int

    def with_chat(self, number: int, chat: Chat) -> "State":
        """Return the state with another chat of this ``number``."""
        chats = _replaced(self.chats, number, chat)
        return State(chats, self.workers, self.statements, self.faults_left)

    def with_worker(self, number: int, **changes: object) -> "State":
        """Return the state with ``changes`` of a worker."""
        workers = _replaced(self.workers, number, self.workers[number]._replace(**changes))
        return State(self.chats, workers, self.statements, self.faults_left)

    def with_task(self, worker: int, chat: int, task: Task | None) -> "State":
        """Return the state with another task of ``worker`` for ``chat``."""
        tasks = _replaced(self.workers[worker].tasks, chat, task)
        return self.with_worker(worker, tasks=tasks)


def _replaced(values: tuple, number: int, value: object) -> tuple:
    return (*values[:number], value, *values[number + 1 :])


def send(state: State, me: int, number: int, task: Task, transition: Transition) -> State:
    """Send a transition of a task to the server."""
    statement = Statement(me, number, task.epoch, task.step, transition)
    storing = task._replace(phase=Phase.STORING, storing=transition)
    return state.with_task(me, number, storing)._replace(statements=state.statements | {statement})


def canonical(state: State) -> State:
    """Return the same of all states that differ in the numbers of the workers alone.

    It halves the exploration. In the path to a violation, a worker may so change its number.
    """
    if hash(state.workers[0]) <= hash(state.workers[1]):
        return state
    return State(
        tuple(
            chat if chat.holder is None else chat._replace(holder=1 - chat.holder)
            for chat in state.chats
        ),
        state.workers[::-1],
        frozenset(each._replace(worker=1 - each.worker) for each in state.statements),
        state.faults_left,
    )


def is_at_rest(state: State) -> bool:
    """Return True if every chat is idle."""
    return all(chat.status in IDLE for chat in state.chats)
