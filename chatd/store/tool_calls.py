"""The moves that end a client's turn to act: it handed in its results, or took too long."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from chatd.domain.sanitize import replace_unstorable, replace_unstorable_json
from chatd.domain.transitions import Transition
from chatd.store import records, sql
from chatd.store.commands import TransitionExecutor
from chatd.store.database import Database
from chatd.store.idempotency import IdempotencyKey
from chatd.store.records import TransitionResult
from chatd.telemetry import tracing

_Q = sql.load("tool_calls")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What came of one call; ``result`` is any JSON value."""

    tool_call_id: str
    result: Any
    is_error: bool = False

    def to_json(self) -> Mapping[str, Any]:
        return {
            "tool_call_id": replace_unstorable(self.tool_call_id),
            "result": replace_unstorable_json(self.result),
            "is_error": self.is_error,
        }


class ToolCalls:
    """Answer the calls of tools that a chat waits for."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._executor = TransitionExecutor(database)

    async def submit(
        self,
        chat_id: UUID,
        *,
        owner_id: str | None,
        results: Sequence[ToolResult],
        key: IdempotencyKey | None = None,
    ) -> TransitionResult:
        """The results of all open calls of a chat; the model goes on with them.

        Raises:
            ChatNotFound, NoActionRequired, ToolCallUnknown, ToolResultsMissing
        """
        return await self._executor.execute(
            Transition.SUBMIT_TOOL_RESULTS,
            _Q["submit_tool_results"],
            key=key,
            chat_id=chat_id,
            owner_id=owner_id,
            results=[result.to_json() for result in results],
            request_traceparent=tracing.current_traceparent(),
        )

    async def expire(self, *, limit: int = 100) -> list[TransitionResult]:
        """Answer the calls of chats whose client took too long, and let the model go on."""
        answer = await self._database.fetch(_Q["expire_action"], limit=limit)
        return [records.transition_result(row, Transition.EXPIRE_ACTION) for row in answer]
