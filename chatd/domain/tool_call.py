"""Tool calls as the ledger has them, and their results.

A row of the ledger is stored with the message that makes the call. It outlives the worker, so the next
worker of the chat knows which calls were started and have no result.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from chatd.domain.agents import Wait
from chatd.domain.files import File
from chatd.domain.message import Part
from chatd.domain.question import Question
from chatd.domain.sanitize import replace_unstorable, replace_unstorable_json
from chatd.domain.stored_word import StoredWord


class CallState(StoredWord):
    """State of a tool call.

    * `asked`: a person or the client is to answer its question. It may have been started before.
    * `ready`: it may start.
    * `started`: it runs, or did when its worker died.
    * `parked`: it waits for other chats.
    * `closed`: it has its result.
    """

    ASKED = "asked"
    READY = "ready"
    STARTED = "started"
    PARKED = "parked"
    CLOSED = "closed"


class CallPolicy(StoredWord):
    """Rule for a call that one worker started and did not close.

    * `at_most_once`: it never starts again. Its result says that its outcome is unknown.
    * `idempotent`: it starts again, at most ``MAX_TRIES`` times in all.
    * `reattach`: it never starts again. Its tool is asked for the result of the start that was.
    """

    AT_MOST_ONCE = "at_most_once"
    IDEMPOTENT = "idempotent"
    REATTACH = "reattach"


MAX_TRIES: Final = 3
"""Starts of an idempotent call, one for each worker that it loses. A CHECK of the ledger holds it, too."""


class Executor(StrEnum):
    """The side that runs a tool. The server also answers calls of tools that do not exist."""

    SERVER = "server"
    CLIENT = "client"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """An open row of the ledger. ``epoch`` is that of the worker that opened or last started it."""

    id: str
    name: str
    message_id: int
    state: CallState
    policy: CallPolicy
    tries: int
    epoch: int
    executor: Executor = Executor.SERVER
    question: Question | None = None
    """The question that is or was asked about it."""
    args: Mapping[str, Any] | None = None
    """The arguments that a person gave in place of the model's."""
    continuation: bytes | None = field(default=None, repr=False)
    """Data that its tool needs to go on, if it asked for input. No other part reads it."""
    decision: Mapping[str, Any] | None = field(default=None, repr=False)
    """The answer to the question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputCall:
    """A started call whose tool asks a person for input. It starts again with the answer."""

    tool_call_id: str
    question: Question
    continuation: bytes = field(repr=False)

    def to_json(self) -> Mapping[str, Any]:
        """Return the call in the shape that the statement ``close_calls`` reads."""
        return {
            "tool_call_id": replace_unstorable(self.tool_call_id),
            "question": self.question.to_json(),
            "continuation": b64encode(self.continuation).decode(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToolCall:
    """A tool call that enters the ledger, or that is asked now.

    A call without a ``message_id`` belongs to a message that is stored by the same statement.
    """

    part: Part
    message_id: int | None
    state: CallState
    executor: Executor = Executor.SERVER
    policy: CallPolicy = CallPolicy.AT_MOST_ONCE
    error: str | None = None
    """The result of a call that is closed at once."""
    question: Question | None = None
    """The question about it. Only a call that is asked has one."""
    wait: Wait | None = None
    """The chats that it waits for. It is parked when the server runs no call, and none is asked."""

    @property
    def id(self) -> str:
        """The id that a result refers to, unique among the chat's open calls."""
        call_id: str = self.part["tool_call_id"]
        return call_id

    def to_json(self) -> Mapping[str, Any]:
        """Return the call in the shape that ``chat_tool_call_rows`` reads."""
        return {
            "tool_call_id": self.id,
            "tool_name": self.part["tool_name"],
            "message_id": self.message_id,
            "executor": self.executor.value,
            "policy": self.policy.value,
            "state": self.state.value,
            "error": self.error,
            "question": self.question.to_json() if self.question else None,
            "args": None if self.message_id is None else self.part.get("args"),
            **self._wait_json(),
        }

    def _wait_json(self) -> Mapping[str, Any]:
        if self.wait is None or self.state is not CallState.PARKED:
            return {}
        return {
            "waits_for": [str(chat_id) for chat_id in self.wait.chat_ids],
            "wait_for_all": self.wait.for_all,
            "wait_seconds": self.wait.seconds,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CutOutput:
    """An output of which a result shows the head and the tail. ``kept`` is as much of it as is kept."""

    total_bytes: int
    kept: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """The result of one tool call. ``result`` is any JSON value."""

    tool_call_id: str
    result: Any
    is_error: bool = False
    cut: CutOutput | None = None
    """The whole output, if ``result`` does not have all of it."""
    files: Sequence[File] = ()
    """Images of the result."""

    def without_files(self) -> "ToolResult":
        """Return the result without its images, in words if it is a text."""
        if not self.files:
            return self
        text = f"{self.result}\n(Its images were not kept.)"
        return replace(self, files=(), result=text if isinstance(self.result, str) else self.result)

    def to_json(self) -> Mapping[str, Any]:
        """Return the result in the shape that ``chat_close_calls`` reads, without unstorable text."""
        result = {
            "tool_call_id": replace_unstorable(self.tool_call_id),
            "result": replace_unstorable_json(self.result),
            "is_error": self.is_error,
        }
        if self.cut is not None:
            result |= {"output_bytes": self.cut.total_bytes, "output": self.cut.kept}
        if self.files:
            result["files"] = replace_unstorable_json([file.reference() for file in self.files])
        return result
