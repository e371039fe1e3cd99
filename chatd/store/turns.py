"""Transitions that a worker makes on a leased chat, and what it reads for them.

Every transition is fenced: it names the worker and the epoch, and raises ``LeaseLost`` if no row matches.
A worker that got no response to a transition reads ``current`` before it tries again.

The end of a turn costs some 60 us besides its statement, which many share. The benchmark ``turns`` watches
it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from chatd.domain.chat import Chat
from chatd.domain.errors import LeaseLost
from chatd.domain.files import FileSpan
from chatd.domain.outcomes import LossReason
from chatd.domain.transitions import Transition
from chatd.store import records, sql
from chatd.store.codecs import encode_json
from chatd.store.commits import NO_LISTENER, CommitListener
from chatd.store.database import Database
from chatd.store.files import FILE_PARAMETERS, Files
from chatd.store.group_commit import GroupCommit, is_too_large
from chatd.store.histories import ChatHistory, KnownHistories, in_order
from chatd.store.limits import ChatLimits
from chatd.store.records import TransitionResult
from chatd.store.tool_call_records import ledger
from chatd.store.tool_outputs import OutputSpan, ToolOutputs
from chatd.store.worker_command import WorkerCommand
from chatd.telemetry.metrics import LeaseMetrics

_Q = sql.load("turns")

_LEASE_ENDING_TRANSITIONS = [transition for transition in Transition if transition.rule.loss_reason]


@dataclass(frozen=True, slots=True)
class FencingToken:
    """The chat, worker and epoch that every write of a worker names."""

    chat_id: UUID
    worker_id: UUID
    epoch: int


@dataclass(frozen=True, slots=True, eq=False)
class _TurnEnd:
    """The end of a turn, as one element of the arrays of ``finish_turn``."""

    chat_id: UUID
    parameters: Mapping[str, Any]
    """Those of the command's own query."""
    messages: str


class Turns:
    """Store for the workers that run turns. Those that end at the same time end by one statement."""

    def __init__(
        self,
        database: Database,
        *,
        limits: Callable[[], ChatLimits] = ChatLimits,
        metrics: LeaseMetrics | None = None,
        listener: CommitListener = NO_LISTENER,
        histories: KnownHistories | None = None,
    ) -> None:
        self._database = database
        self._histories = histories or KnownHistories(max_bytes=0)
        self._files = Files(database)
        self._outputs = ToolOutputs(database)
        self._limits = limits
        self._metrics = metrics or LeaseMetrics()
        self._listener = listener
        self._turn_ends = GroupCommit(database, self._end_turns)

    async def apply(self, fence: FencingToken, command: WorkerCommand) -> TransitionResult:
        """Make the transition of ``command``. Raise ``LeaseLost`` if the fencing token is stale."""
        parameters = command.parameters()
        if command.ends_lease:
            parameters["limits"] = self._limits().of_owner
        parameters |= {
            "chat_id": fence.chat_id,
            "worker_id": fence.worker_id,
            "epoch": fence.epoch,
        }
        if command.ends_with_others:
            messages = encode_json(parameters["messages"])
            end = _TurnEnd(fence.chat_id, parameters, messages)
            alone = is_too_large(end.messages, end.parameters["file_ids"])
            row = await self._turn_ends.run(end, alone=alone)
            if row is not None:
                return self._listener.committed(row, command.transition, fence.worker_id)
        while True:
            row = await self._database.fetchrow(command.query, **parameters)
            if row is None:
                self._metrics.fence_rejections.add(command.transition)
                raise LeaseLost(
                    chat_id=fence.chat_id, epoch=fence.epoch, transition=command.transition
                )
            if row["outcome"] != "stale":
                return self._listener.committed(row, command.transition, fence.worker_id)

    async def _end_turns(self, ends: Sequence[_TurnEnd]) -> Sequence[asyncpg.Record]:
        def column(name: str) -> list[Any]:
            return [end.parameters[name] for end in ends]

        last = ends[-1].parameters
        return await self._database.fetch(
            _Q["finish_turn"],
            chat_ids=column("chat_id"),
            worker_ids=column("worker_id"),
            epochs=column("epoch"),
            steps=column("step"),
            settled_parts=column("settled_part"),
            messages=[end.messages for end in ends],
            limits=last["limits"],
            **{name: last[name] for name in FILE_PARAMETERS},
        )

    async def history(self, chat_id: UUID) -> ChatHistory:
        """Return what the model is shown."""
        rows = await self._database.fetch(_Q["history"], chat_id=chat_id)
        first = rows[0] if rows else {"tools": None, "ledger": None, "prompt": None}
        messages = tuple(map(records.message, rows))
        if any(message.covers_until is not None for message in messages):
            messages = in_order([*map(records.message, first["prompt"] or ()), *messages])
        return ChatHistory(
            messages,
            first["tools"] or (),
            ledger(first["ledger"]),
        )

    def keep_history(self, chat: Chat, history: ChatHistory) -> None:
        """Know the history of ``chat`` as it is now, for its next turn."""
        self._histories.keep(chat.id, chat.version, history, tools_version=chat.tools_version)

    async def read_files(self, chat_id: UUID, spans: Sequence[FileSpan]) -> list[bytes]:
        """Return spans of bytes of the chat's files. Raises ``FileNotFoundInChat``."""
        return await self._files.read(chat_id, spans)

    async def read_output(
        self,
        chat_id: UUID,
        tool_call_id: str,
        *,
        message_id: int | None = None,
        offset: int,
        length: int,
    ) -> OutputSpan | None:
        """Return a span of an output of the chat's tools. None: nothing of it is kept."""
        return await self._outputs.read(
            chat_id, tool_call_id, message_id=message_id, offset=offset, length=length
        )

    async def current(self, chat_id: UUID) -> Chat | None:
        """Return the chat as it is now, whichever worker has it. None: it was deleted."""
        row = await self._database.fetchrow(_Q["current"], chat_id=chat_id)
        return records.chat(row) if row else None

    async def loss_reason(self, fence: FencingToken) -> LossReason:
        """Return the reason why a worker lost the lease, for the log."""
        row = await self._database.fetchrow(
            _Q["loss_reason"],
            chat_id=fence.chat_id,
            epoch=fence.epoch,
            lease_ending_transitions=_LEASE_ENDING_TRANSITIONS,
        )
        assert row is not None  # noqa: S101 - it selects from nothing
        if not row["found"]:
            return LossReason.DELETED
        transition = row["transition"]
        loss_reason = Transition.read(transition).rule.loss_reason if transition else None
        return loss_reason or LossReason.EXPIRED
