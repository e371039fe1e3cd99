"""The moves that an owner makes while it works on a chat.

Every one is fenced: it says whose the chat is (worker and epoch) and which step it stores, and
raises ``LeaseLost`` when no row answers to that. An owner that did not hear the answer to its statement
asks ``current`` what became of it before it says the same again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from chatd.domain.chat import Chat, Status
from chatd.domain.errors import LeaseLost
from chatd.domain.message import Message, NewMessage, PendingToolCall
from chatd.domain.outcomes import LossReason
from chatd.domain.sanitize import replace_unstorable_json
from chatd.domain.transitions import Transition
from chatd.store import records, sql
from chatd.store.database import Database
from chatd.store.records import TransitionResult
from chatd.store.sql import Query
from chatd.telemetry.metrics import LeaseMetrics

_Q = sql.load("turns")
_TOOL_CALLS = sql.load("tool_calls")


_LEASE_ENDING_TRANSITIONS = [transition for transition in Transition if transition.rule.loss_reason]


@dataclass(frozen=True, slots=True)
class FencingToken:
    """Whose a chat is: what every write of an owner carries."""

    chat_id: UUID
    worker_id: UUID
    epoch: int


def message_rows(messages: Sequence[NewMessage]) -> list[dict[str, Any]]:
    """New messages in the shape that ``chat_message_rows`` reads, fit to be stored."""
    return [
        {
            "role": message.role.value,
            "content": replace_unstorable_json(message.content),
            "visibility": message.visibility.value,
            "model_config_id": message.model_config_id,
            "finish_reason": message.finish_reason,
            "usage": asdict(message.usage) if message.usage else None,
        }
        for message in messages
    ]


class Turns:
    """Store what an owner did. Every method raises ``LeaseLost`` when the chat is no longer its own."""

    def __init__(self, database: Database, *, metrics: LeaseMetrics | None = None) -> None:
        self._database = database
        self._metrics = metrics or LeaseMetrics()

    async def history(self, chat_id: UUID) -> tuple[Message, ...]:
        """What the model is shown, oldest first."""
        return tuple(
            map(records.message, await self._database.fetch(_Q["history"], chat_id=chat_id))
        )

    async def current(self, chat_id: UUID) -> Chat | None:
        """The chat as it is now, whoever owns it."""
        row = await self._database.fetchrow(_Q["current"], chat_id=chat_id)
        return records.chat(row) if row else None

    async def loss_reason(self, fence: FencingToken) -> LossReason:
        """How a chat was lost, for those who read logs."""
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
        loss_reason = Transition(transition).rule.loss_reason if transition else None
        return loss_reason or LossReason.EXPIRED

    async def commit_step(
        self, fence: FencingToken, *, step: int, messages: Sequence[NewMessage], settled_part: int
    ) -> TransitionResult:
        """Store one step and go on; ``settled_part`` is the last streamed part that it settles."""
        return await self._apply_fenced(
            Transition.COMMIT_STEP,
            fence,
            _Q["commit_step"],
            step=step,
            messages=message_rows(messages),
            settled_part=settled_part,
        )

    async def require_action(
        self,
        fence: FencingToken,
        *,
        step: int,
        messages: Sequence[NewMessage],
        calls: Sequence[PendingToolCall],
        client_tool_timeout_seconds: float,
        settled_part: int,
    ) -> TransitionResult:
        """Store one step and wait for the client, which has ``client_tool_timeout_seconds`` to run ``calls``.

        A call that is not stored yet is one of the assistant's message among ``messages``.
        """
        return await self._apply_fenced(
            Transition.REQUIRE_ACTION,
            fence,
            _TOOL_CALLS["require_action"],
            step=step,
            messages=message_rows(messages),
            settled_part=settled_part,
            timeout_seconds=client_tool_timeout_seconds,
            calls=[
                {
                    "tool_call_id": call.id,
                    "tool_name": call.part["tool_name"],
                    "message_id": call.message_id,
                }
                for call in calls
            ],
        )

    async def finish_turn(
        self, fence: FencingToken, *, step: int, messages: Sequence[NewMessage], settled_part: int
    ) -> TransitionResult:
        """Store the last step and end the turn; the head of the queue becomes the next one."""
        return await self._finish(
            Transition.FINISH_TURN,
            Status.RUNNING,
            fence,
            step,
            messages,
            settled_part,
            keep_lease=True,
        )

    async def finish_interrupt(
        self, fence: FencingToken, *, step: int, messages: Sequence[NewMessage], settled_part: int
    ) -> TransitionResult:
        """Store what there was when the stop came; the head of the queue becomes the next turn."""
        return await self._finish(
            Transition.FINISH_INTERRUPT,
            Status.INTERRUPTING,
            fence,
            step,
            messages,
            settled_part,
            keep_lease=True,
        )

    async def reap_interrupt(
        self, fence: FencingToken, *, step: int, messages: Sequence[NewMessage], settled_part: int
    ) -> TransitionResult:
        """``finish_interrupt`` for an owner that is gone: nobody keeps the chat."""
        return await self._finish(
            Transition.REAP_INTERRUPT,
            Status.INTERRUPTING,
            fence,
            step,
            messages,
            settled_part,
            keep_lease=False,
        )

    async def record_retry(
        self,
        fence: FencingToken,
        *,
        step: int,
        attempts: int,
        delay_seconds: float,
        settled_part: int,
        failure: Mapping[str, Any],
    ) -> TransitionResult:
        """The ``attempts``-th try of this step failed; the next is due in ``delay_seconds``."""
        return await self._apply_fenced(
            Transition.RECORD_RETRY,
            fence,
            _Q["record_retry"],
            step=step,
            attempts=attempts,
            delay_seconds=delay_seconds,
            settled_part=settled_part,
            failure=replace_unstorable_json(failure),
        )

    async def fail(
        self,
        fence: FencingToken,
        *,
        step: int,
        last_error: str,
        detail: Mapping[str, Any],
        settled_part: int,
    ) -> TransitionResult:
        """The turn cannot succeed."""
        return await self._apply_fenced(
            Transition.FAIL,
            fence,
            _Q["fail"],
            step=step,
            last_error=last_error,
            last_error_detail=replace_unstorable_json(detail),
            settled_part=settled_part,
        )

    async def release(self, fence: FencingToken, *, reason: str) -> TransitionResult:
        """Give the chat back, unharmed."""
        return await self._apply_fenced(Transition.RELEASE, fence, _Q["release"], reason=reason)

    async def _finish(
        self,
        transition: Transition,
        expected_status: Status,
        fence: FencingToken,
        step: int,
        messages: Sequence[NewMessage],
        settled_part: int,
        *,
        keep_lease: bool,
    ) -> TransitionResult:
        return await self._apply_fenced(
            transition,
            fence,
            _Q["finish"],
            step=step,
            messages=message_rows(messages),
            settled_part=settled_part,
            transition=transition.value,
            from_status=expected_status.value,
            keep_lease=keep_lease,
        )

    async def _apply_fenced(
        self, transition: Transition, fence: FencingToken, query: Query, /, **values: object
    ) -> TransitionResult:
        while True:
            row = await self._database.fetchrow(
                query,
                chat_id=fence.chat_id,
                worker_id=fence.worker_id,
                epoch=fence.epoch,
                **values,
            )
            if row is None:
                self._metrics.fence_rejections.add(transition)
                raise LeaseLost(chat_id=fence.chat_id, epoch=fence.epoch, move=transition)
            if row["outcome"] != "stale":
                return records.transition_result(row, transition, fence.worker_id)
