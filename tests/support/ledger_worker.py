"""A worker of one chat that makes its turns by a real runner, with the faults of a plan.

It is a task. One that dies is cancelled at a statement and makes none after it. One whose chat is taken
stands still meanwhile, as a stopped process does, and then goes on with what it was about to do.
"""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING
from uuid import UUID

import anyio

from chatd.domain.agents import Wait
from chatd.domain.answer import Decision
from chatd.domain.chat import Chat
from chatd.domain.errors import DatabaseUnavailable
from chatd.domain.permission import Permission
from chatd.domain.question import Question, QuestionKind
from chatd.domain.tool_call import CallPolicy
from chatd.domain.tool_call_errors import RESULT_LOST
from chatd.fanout.change_bus import ChangeBus
from chatd.fanout.hub import ChatHub
from chatd.store.chats import Chats
from chatd.store.children import Children
from chatd.store.commands import FinishInterrupt
from chatd.store.records import TransitionResult
from chatd.store.turns import FencingToken, Turns
from chatd.store.worker_command import WorkerCommand
from chatd.tools.registry import ToolRegistry
from chatd.tools.tool import InputNeeded, Tool, ToolOutcome, ToolRequest
from chatd.worker.clock import boottime
from chatd.worker.config import TurnConfig
from chatd.worker.lease import Cause, Lease
from chatd.worker.retry import RetryPolicy
from chatd.worker.runner import Runner
from chatd.worker.turn_limits import ToolLimits, TurnLimits
from chatd.worker.turn_services import TurnServices
from chatd.worker.worker_lease import WorkerLease
from support.actors import make_flusher
from support.ledger_plans import QUESTIONS, Effect, Fault, Kind

if TYPE_CHECKING:
    from support.ledger_world import LedgerWorld

_TIMEOUT_SECONDS = {Kind.TOO_SLOW: 0.01}
_PERMISSIONS = {
    Kind.ASKED: Permission.ASK,
    Kind.ASKED_WAITS: Permission.ASK,
    Kind.DENIED: Permission.DENY,
}
_WAITS = (Kind.WAITS, Kind.ASKED_WAITS)
_SERVER_TOOLS = (
    *(Kind.ONCE, Kind.IDEMPOTENT, Kind.REATTACHED, Kind.ASKED, Kind.DENIED, Kind.TOO_SLOW),
    *_WAITS,
    *QUESTIONS,
)
_POLICIES = {Kind.REATTACHED: CallPolicy.REATTACH} | dict.fromkeys(
    (Kind.IDEMPOTENT, Kind.ASKS_IDEMPOTENT, *_WAITS), CallPolicy.IDEMPOTENT
)
_WAIT = Wait(chat_ids=(UUID(int=1),), for_all=True, seconds=60)
"""Wait for a chat that is not there, so that it is over at the first look."""
_FORM = Question(kind=QuestionKind.INPUT, message="When?", schema={"type": "object"})
_LATER_SECONDS = 0.01
_LIMITS = TurnLimits(
    stream_idle_timeout_seconds=60,
    model_call_timeout_seconds=60,
    timeout_seconds=600,
    client_tool_timeout_seconds=600,
    max_steps=100,
    max_repeated_calls=0,
)
_SCHEMA = {
    "type": "object",
    "properties": {"effect": {"type": "string"}},
    "required": ["effect"],
}


class LedgerWorker:
    """A worker with one chat."""

    def __init__(self, world: "LedgerWorld", chat: Chat) -> None:
        self.world = world
        self.is_dead = False
        self.task: asyncio.Task[None] | None = None
        self.returned: dict[UUID, str] = {}
        """What tools have returned here, by the keys of their calls."""
        self._going = anyio.Event()
        self._going.set()
        self._lease_of_worker = WorkerLease(local_lease_seconds=15.0)
        self._lease_of_worker.renewed(boottime())
        self.lease = Lease(chat, worker_lease=self._lease_of_worker)

    async def run(self) -> None:
        hub = ChatHub(subscriber_buffer=10)
        change_bus = ChangeBus(hub, notify_replicas=lambda _: None)
        services = TurnServices(
            turns=_FaultyTurns(self),
            chats=Chats(self.world.database),
            children=Children(self.world.database),
            change_bus=change_bus,
            hub=hub,
            flusher=make_flusher(self.world.database, change_bus),
        )
        config = TurnConfig(
            catalog=self.world.catalog,
            limits=_LIMITS,
            retry=RetryPolicy(max_attempts=3, backoff_seconds=0.01, backoff_max_seconds=0.01),
            tools=ToolRegistry(map(self._tool, _SERVER_TOOLS)),
            tool_limits=ToolLimits(
                parallel=self.world.parallel,
                output_bytes=1_000,
                keep_bytes=10_000,
                keep_days=1,
                approval_seconds=60,
            ),
        )
        async with anyio.create_task_group() as tools:
            runner = Runner(
                services,
                self.lease,
                config=lambda: config,
                start_task=tools.start_soon,
                draining=lambda: False,
            )
            await runner.run()
            tools.cancel_scope.cancel()

    async def die(self) -> None:
        self.is_dead = True
        assert self.task is not None
        self.task.cancel()
        await anyio.sleep_forever()

    async def stand_still(self) -> None:
        """Lose the chat to another worker, which has it as long as it wants, and go on then."""
        self.lease.renewed_at -= 1_000
        self._going = anyio.Event()
        await self.world.take()
        self._going.set()

    async def wait_while_still(self) -> None:
        await self._going.wait()

    def _tool(self, kind: Kind) -> Tool:
        policy = _POLICIES.get(kind, CallPolicy.AT_MOST_ONCE)

        async def run(request: ToolRequest) -> ToolOutcome:
            if request.reattaches:
                return self._reattach(kind, request)
            answered = int(request.given.continuation) if request.given else 0
            self.world.starts[policy, request.key, answered] += 1
            self.world.problems += self._problems(kind, request)
            if kind is Kind.TOO_SLOW:
                await anyio.sleep_forever()
            outcome = await self._effect(Effect(request.args["effect"]))
            accepts = request.given is None or request.given.decision == Decision.ACCEPT
            if answered < QUESTIONS.get(kind, 0) and accepts and not outcome.is_error:
                continuation = str(answered + 1).encode()
                return ToolOutcome(needs=InputNeeded(question=_FORM, continuation=continuation))
            self.returned[request.key] = outcome.text
            self.world.ended[request.key] = outcome
            return outcome

        return Tool(
            name=kind.value,
            description="",
            parameters=_SCHEMA,
            policy=policy,
            timeout_seconds=_TIMEOUT_SECONDS.get(kind, 60.0),
            permission=_PERMISSIONS.get(kind),
            run=run,
            wait=(lambda _: _WAIT) if kind in _WAITS else None,
        )

    def _reattach(self, kind: Kind, request: ToolRequest) -> ToolOutcome:
        """Return the outcome of a call that another worker started, as far as there is one."""
        self.world.faults["reattached"] += 1
        if kind is not Kind.REATTACHED:
            self.world.problems.append("a tool was reattached to that knows no results")
        lost = ToolOutcome(text=RESULT_LOST, is_error=True)
        outcome = self.world.ended.get(request.key, lost)
        self.returned[request.key] = outcome.text
        return outcome

    def _problems(self, kind: Kind, request: ToolRequest) -> Iterator[str]:
        """Yield why this call may not start. What a tool raises would be its result."""
        if self.is_dead or self.lease.remaining_seconds <= 0:
            yield "a tool started after its worker had lost the chat"
        if kind in _WAITS:
            yield "a tool started that waits"
        if kind is Kind.DENIED or (kind is Kind.ASKED and request.key not in self.world.allowed):
            yield "a tool started that nobody allowed"
        if request.given is not None:
            asked = request.key, int(request.given.continuation) - 1
            if self.world.inputs.get(asked) != (request.given.decision, request.given.content):
                yield "a tool went on with another answer than a person gave"
        if (given := self.world.allowed.get(request.key)) is not None and request.args != given:
            yield "a tool started with other arguments than a person gave"

    async def _effect(self, effect: Effect) -> ToolOutcome:
        match effect:
            case Effect.LATER:
                await anyio.sleep(_LATER_SECONDS)
            case Effect.ERROR:
                return ToolOutcome(text="no", is_error=True)
            case Effect.RAISES:
                raise RuntimeError("a bug of the tool")
            case Effect.INTERRUPTED:
                await self.world.interrupt()
                self.lease.cancel(Cause.INTERRUPTED)
                await anyio.sleep_forever()
            case Effect.DONE_AND_INTERRUPTED:
                await self.world.interrupt()
                self.lease.cancel(Cause.INTERRUPTED)
            case Effect.EDITED if not self.world.faults["edited"]:  # else the turn has no end
                await self.world.edit()
            case Effect.TAKEN:
                await self.stand_still()
            case _:
                pass
        return ToolOutcome(text="done")


class _FaultyTurns(Turns):
    """The store of a worker, whose statements have the faults of the plan."""

    def __init__(self, worker: LedgerWorker) -> None:
        super().__init__(worker.world.worker_database)
        self._worker = worker
        self._world = worker.world

    async def apply(self, fence: FencingToken, command: WorkerCommand) -> TransitionResult:
        await self._worker.wait_while_still()
        fault = self._world.next_fault()
        await self._before(fault)
        result = await super().apply(fence, command)
        try:
            await self._check(fence, command, result)
        except AssertionError as error:  # the runner would take it for a bug of the turn
            self._world.problems.append(str(error))
        await self._after(fault)
        return result

    async def _check(
        self, fence: FencingToken, command: WorkerCommand, result: TransitionResult
    ) -> None:
        assert not self._worker.is_dead, "a worker wrote that was dead"
        assert result.chat.epoch == fence.epoch, "a worker wrote that had lost the chat"
        await self._world.observe()
        if isinstance(command, FinishInterrupt):
            await self._world.check_returned(self._worker.returned)

    async def _before(self, fault: Fault | None) -> None:
        match fault:
            case Fault.DIES_BEFORE:
                await self._worker.die()
            case Fault.TAKEN_BEFORE:
                await self._worker.stand_still()
            case Fault.INTERRUPTED_BEFORE:
                await self._world.interrupt()
            case Fault.SENT_BEFORE:
                await self._world.send()
            case Fault.EDITED_BEFORE:
                await self._world.edit()

    async def _after(self, fault: Fault | None) -> None:
        match fault:
            case Fault.DIES_AFTER:
                await self._worker.die()
            case Fault.NO_RESPONSE:
                raise DatabaseUnavailable
            case Fault.TAKEN_AFTER:
                await self._worker.stand_still()
            case Fault.INTERRUPTED_AFTER:
                await self._world.interrupt()
            case Fault.EDITED_AFTER:
                await self._world.edit()
