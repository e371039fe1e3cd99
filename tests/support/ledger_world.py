"""A chat of a generated plan: its workers, its people, and the checks after each statement."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4, uuid5

from chatd.domain.answer import Input
from chatd.domain.chat import BusyBehavior, Chat
from chatd.domain.errors import Refused
from chatd.domain.message import PAUSED, Role
from chatd.domain.tool_call import MAX_TRIES
from chatd.llm.provider import Delta, ModelRequest
from chatd.store.chats import Chats
from chatd.store.children import Children
from chatd.store.database import Database
from chatd.store.messages import Messages
from chatd.store.tool_calls import ToolCalls
from chatd.tools.tool import ToolOutcome
from chatd.worker.clock import boottime
from support.actors import make_reaper, recording_change_bus
from support.claims import claim_chats
from support.client_tools import WEATHER
from support.factories import OWNER, text_content
from support.invariants import check_all
from support.ledger_answers import answer_to
from support.ledger_plans import Act, Fault, Kind, Plan
from support.ledger_worker import LedgerWorker
from support.providers import (
    FunctionProvider,
    catalog,
    finished,
    text_delta,
    tool_call_delta,
)

CHANGED = {"effect": "ok", "note": "changed"}
"""Arguments that a person gives instead of the model's."""
MOST_CLAIMS = 60
"""More than any plan needs."""


class LedgerWorld:
    """The chat of one plan, its workers, and what is seen of them.

    Workers run turns by ``worker_database``, which may be one that counts.
    """

    def __init__(
        self,
        database: Database,
        plan: Plan,
        *,
        parallel: int = 3,
        worker_database: Database | None = None,
    ) -> None:
        self.database, self.plan, self.parallel = database, plan, parallel
        self.worker_database = worker_database or database
        self.provider = FunctionProvider(self._answer)
        self.catalog = catalog(self.provider)
        self.acts = list(plan.acts)
        self.starts: Counter[tuple[str, UUID, int]] = Counter()
        """Starts of tools, by policy, by the key of the call, and by its answered questions."""
        self.ended: dict[UUID, ToolOutcome] = {}
        """Outcomes of tools, by the keys of their calls."""
        self.inputs: dict[tuple[UUID, int], tuple[str, Any]] = {}
        """What a person said to each question of a tool."""
        self.problems: list[str] = []
        self.allowed: dict[UUID, Mapping[str, Any] | None] = {}
        """The calls that a person has allowed, with the arguments that they gave instead."""
        self.faults: Counter[str] = Counter()
        self._statements = 0
        self._answers: dict[tuple[int, str], Any] = {}
        self._chats = Chats(database)
        self.chat_id = UUID(int=0)

    # The course of the plan

    async def run(self, *, keep: bool = False) -> None:
        """Run the chat until it is idle, and check it then. It is deleted unless ``keep``."""
        model = self.catalog.default
        await self.database.fetch(
            "INSERT INTO chat_model_configs (id, name, provider, model)"
            " VALUES ($1, $2, 'p', 'm') ON CONFLICT DO NOTHING",
            model.id,
            model.name,
        )
        created = await self._chats.create(
            owner_id=OWNER,
            model_config_id=model.id,
            content=text_content("go"),
            tools=[WEATHER],
        )
        self.chat_id = created.chat.id
        try:
            await self._run_until_idle()
            await self.observe()
            assert self.problems == []
            await check_all(self.database)
        finally:
            if not keep:
                await self.database.fetch("DELETE FROM chats WHERE id = $1", self.chat_id)

    async def _run_until_idle(self) -> None:
        for _ in range(MOST_CLAIMS):
            assert self.problems == []
            chat = await self._row()
            match chat["status"]:
                case "pending":
                    await self._claim_and_run()
                case "running" | "interrupting":
                    await self._reap()
                case "requires_action":
                    await self._act(self.acts.pop(0) if self.acts else Act.ALLOW)
                case "parked":
                    await self._end_wait(self.acts.pop(0) if self.acts else Act.ALLOW)
                case "waiting":
                    return
                case status:
                    raise AssertionError(f"{status}: {chat['last_error']}")
        raise AssertionError("the chat does not become idle")

    async def _row(self) -> Any:
        [row] = await self.database.fetch("SELECT * FROM chats WHERE id = $1", self.chat_id)
        return row

    async def _claim_and_run(self) -> None:
        claims = await claim_chats(self.database, 1, worker_id=uuid4())
        for claim in claims:
            await self._work(claim.result.chat)

    async def _work(self, chat: Chat) -> None:
        """Run the chat as a worker that may die."""
        worker = LedgerWorker(self, chat)
        task = asyncio.create_task(worker.run())
        worker.task = task
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
        else:
            assert worker.is_dead, "a worker was cancelled by itself"

    async def _reap(self) -> None:
        change_bus, _ = recording_change_bus()
        reaper = make_reaper(self.database, change_bus, max_recoveries=1_000, clock=_Clock())
        await reaper.step()
        await reaper.step()

    # What people, clients and other workers do

    async def take(self) -> None:
        """Give the chat to another worker, as if this one were dead, and let that one run."""
        self.faults["taken"] += 1
        await self._reap()
        if (await self._row())["status"] == "pending":
            await self._claim_and_run()

    async def interrupt(self) -> None:
        self.faults["interrupted"] += 1
        await self._chats.interrupt(self.chat_id, owner_id=OWNER)

    async def send(self) -> None:
        self.faults["sent"] += 1
        with suppress(Refused):
            await self._chats.send(
                self.chat_id,
                owner_id=OWNER,
                content=text_content("stop"),
                busy_behavior=BusyBehavior.INTERRUPT,
            )

    async def edit(self) -> None:
        self.faults["edited"] += 1
        [row] = await self.database.fetch(
            "SELECT max(id) AS id FROM chat_messages"
            " WHERE chat_id = $1 AND role = 'user' AND superseded_version IS NULL",
            self.chat_id,
        )
        await Messages(self.database).edit(
            self.chat_id, row["id"], owner_id=OWNER, content=text_content("go again")
        )

    async def _act(self, act: Act) -> None:
        self.faults[act] += 1
        asked = [row for row in await self._rows() if row["state"] == "asked"]
        match act:
            case Act.EXPIRES | Act.ONE_EXPIRES:
                await self._expire(asked[:1] if act is Act.ONE_EXPIRES else asked)
            case Act.INTERRUPT:
                await self.interrupt()
            case Act.SEND:
                await self.send()
            case Act.EDIT:
                await self.edit()
            case Act.ALLOW_AND_DENY:
                done = await asyncio.gather(
                    self._answer_calls(asked, allowed=True),
                    self._answer_calls(asked, allowed=False),
                )
                assert sorted(done) == [False, True], "one of two answers counts"
            case _:
                some = asked[:1] if act is Act.ONE else asked
                assert await self._answer_calls(
                    some, allowed=act is not Act.DENY, args=CHANGED if act is Act.CHANGE else None
                )
        await self.observe()

    async def _end_wait(self, act: Act) -> None:
        """Stop the wait for other chats as a person does, or wake the chat."""
        self.faults["parked"] += 1
        match act:
            case Act.INTERRUPT:
                await self.interrupt()
            case Act.SEND:
                await self.send()
            case Act.EDIT:
                await self.edit()
            case _:
                woken = await Children(self.database).wake(sweeps=True)
                assert [result.chat.id for result in woken.chats] == [self.chat_id]
        await self.observe()

    async def _answer_calls(
        self, rows: list[Any], *, allowed: bool, args: Mapping[str, Any] | None = None
    ) -> bool:
        """Answer asked calls. Return False if that was refused."""
        answers = [answer_to(row, allowed=allowed, args=args) for row in rows]
        try:
            await ToolCalls(self.database).answer(self.chat_id, owner_id=OWNER, answers=answers)
        except Refused:
            return False
        for row, said in zip(rows, answers, strict=True):
            if isinstance(said, Input):
                self.inputs[self.key_of(row), said.question_number] = (said.decision, said.content)
        if allowed:
            self.allowed |= {
                self.key_of(row): args for row in rows if row["question"]["kind"] == "approval"
            }
        return True

    async def _expire(self, rows: list[Any]) -> None:
        await self.database.fetch(
            "UPDATE chat_tool_calls SET expires_at = clock_timestamp()"
            " WHERE chat_id = $1 AND tool_call_id = ANY($2) AND state = 'asked'",
            self.chat_id,
            [row["tool_call_id"] for row in rows],
        )
        await self.database.fetch(
            "UPDATE chats SET action_deadline = clock_timestamp() WHERE id = $1", self.chat_id
        )
        await ToolCalls(self.database).expire()

    # What the model answers

    async def _answer(self, request: ModelRequest) -> AsyncIterator[Delta]:
        number = sum(message.role is Role.ASSISTANT for message in request.messages)
        answers = self.plan.answers
        yield text_delta("Hm.")
        if number >= len(answers):
            yield finished("stop")
            return
        answer = answers[number]
        for index, call in enumerate(answer.calls):
            args = json.dumps({"effect": call.effect})
            if call.kind is Kind.BAD_ARGUMENTS:
                args = '{"effect": 5}'
            yield tool_call_delta(call.kind.strip(), f"c{index}", args, index=index + 1)
        yield finished("tool_call" if answer.calls else PAUSED if answer.paused else "stop")

    # What is checked after each statement

    def next_fault(self) -> Fault | None:
        fault = self.plan.faults.get(self._statements)
        self._statements += 1
        if fault is not None:
            self.faults[fault] += 1
        return fault

    async def observe(self) -> None:
        """Check the ledger: what was closed stays as it was, and nothing was started too often."""
        for row in await self._rows():
            key = (row["message_id"], row["tool_call_id"])
            is_closed = row["state"] == "closed"
            assert is_closed is (row["completed_at"] is not None) is (row["answer"] is not None), (
                dict(row)
            )
            if key in self._answers:
                assert row["answer"] == self._answers[key], "a stored result was replaced"
            elif is_closed:
                self._answers[key] = row["answer"]
            most = MAX_TRIES if row["policy"] == "idempotent" else 1
            assert row["tries"] <= most, dict(row)
            asked_before = len(row["earlier_decisions"])
            assert row["question"] is None or row["question"].get("number", 0) == asked_before
        for (policy, _, _), count in self.starts.items():
            assert count <= (MAX_TRIES if policy == "idempotent" else 1), (
                f"{policy}: {count} starts"
            )

    async def check_returned(self, returned: Mapping[UUID, str]) -> None:
        """Check that an interrupt has kept what tools had returned by then."""
        rows = await self._rows()
        for row in rows:
            key = self.key_of(row)
            if key in returned:
                assert row["answer"]["result"] == returned[key], "an interrupt lost a result"

    async def _rows(self) -> list[Any]:
        rows = await self.database.fetch(
            "SELECT * FROM chat_tool_calls WHERE chat_id = $1 ORDER BY message_id, position",
            self.chat_id,
        )
        return list(rows)

    def key_of(self, row: Any) -> UUID:
        """Return the key of a call of the ledger, which its tool is given."""
        return uuid5(self.chat_id, f"{row['message_id']}/{row['tool_call_id']}")


class _Clock:
    """Clock by which the second look of a reaper is seconds after the first."""

    def __init__(self) -> None:
        self._now = boottime()

    def __call__(self) -> float:
        self._now += 2.0
        return self._now
