"""Random histories: whatever the transitions of chatd allow, with whatever a model and a client may send.

A ``RandomChat`` makes the transitions of ``domain.transitions``, and stores the messages that the worker
and the store build, with their own functions. Only the database is left out.
"""

import random
from collections.abc import Callable
from typing import Any
from uuid import UUID

from chatd.domain.chat import BusyBehavior, Status
from chatd.domain.message import (
    PAUSED,
    Message,
    NewMessage,
    Part,
    Role,
    error_results,
    fold,
    interrupted_message,
    pending_tool_calls,
)
from chatd.domain.sanitize import replace_unstorable_json
from chatd.domain.transitions import Transition, target_status
from chatd.worker.next_step import CallModel, Finish, OpenCalls, ToolNames, errors_of, next_step
from support.files import file_part
from support.provider_cases import message
from support.random_answers import PROVIDERS, TEXTS, RandomModel

_MODEL_ID = UUID(int=1)
_RESULTS: tuple[Any, ...] = (
    None,
    "",
    " ",
    "sunny",
    [],
    {},
    {"c": 21},
    0,
    False,
    ["\n"],
    {"kind": "binary"},
)
_PNG = b"\x89PNG\r\n\x1a\n" + bytes(9)
_FILES = (
    ("image/png", _PNG),
    ("image/jpeg", _PNG),
    ("IMAGE/JPG", b"\xff\xd8\xff" + bytes(9)),
    ("text/csv; charset=latin-1", "a;\u00fc".encode("latin-1")),
    ("text/plain", "\ufeffhi".encode("utf-16")),
    ("application/json", b"{}"),
    ("text/markdown", b" "),
    ("application/pdf", b"%PDF-1.4"),
    ("video/mp4", bytes(20)),
    ("audio/ogg", bytes(20)),
    ("audio/wav", bytes(20)),
    ("application/zip", bytes(20)),
    ("", bytes(5)),
)
_FINISH_REASONS = ("stop", "stop", "stop", "length", "content_filter", "odd", "refusal")


_TOOLS = ToolNames(client={"weather"})


class RandomChat(RandomModel):
    """A chat that random transitions lead through. ``history`` is what a worker would be given."""

    def __init__(self, seed: int, *, allows: Callable[[str, Part], bool]) -> None:
        self._random = random.Random(seed)
        self._allows = allows
        self.history: list[Message] = []
        self.queue: list[tuple[tuple[Part, ...], str]] = []
        self.status = Status.WAITING
        self.provider = self._random.choice(tuple(PROVIDERS))
        self._number = 0
        if self._random.random() < 0.5:
            self._store(Role.SYSTEM, self._text(" Be kind. ", " "))

    def run(self, steps: int) -> None:
        """Make transitions until a model is to be called, at least ``steps`` of them."""
        while steps > 0 or self.status is not Status.RUNNING or not self._calls_model():
            steps -= 1
            self._random.choice((self._send, self._send, self._work, self._work, self._disturb))()

    def _calls_model(self) -> bool:
        return isinstance(next_step(self.history, tools=_TOOLS), CallModel)

    def _move(self, transition: Transition, **facts: Any) -> bool:
        to = target_status(transition, self.status, has_queue=bool(self.queue), **facts)
        if to is None:
            return False
        self.status = to
        return True

    def _store(self, role: Role, *parts: Part, finish_reason: str | None = None) -> None:
        self._number += 1
        parts = tuple(replace_unstorable_json(part) for part in parts)
        self.history.append(message(self._number, role, *parts, finish_reason=finish_reason))

    def _store_new(self, messages: list[NewMessage]) -> None:
        for new in messages:
            self._store(new.role, *new.content, finish_reason=new.finish_reason)

    # What callers do

    def _send(self) -> None:
        provider = self._random.choice((self.provider, *PROVIDERS))
        content = self.user_content(provider)
        busy = self._random.choice(tuple(BusyBehavior))
        before = self.status
        if not self._move(Transition.SEND, busy=busy):
            return
        if before in {Status.WAITING, Status.ERROR}:
            self._add_user_message(content, provider)
        elif before is Status.REQUIRES_ACTION and self.status is Status.PENDING:
            self._cancel_calls()
            self._add_user_message(content, provider)
        else:
            self.queue.append((content, provider))

    def _add_user_message(self, content: tuple[Part, ...], provider: str) -> None:
        self.provider = provider
        self._store(Role.USER, *content)

    def _disturb(self) -> None:
        """Do one of the things that callers do with a chat besides sending."""
        users = [i for i, m in enumerate(self.history) if m.role is Role.USER]
        match self._random.choice(("edit", "interrupt", "results", "retry", "clear", "expire")):
            case "edit" if users and self._move(Transition.EDIT):
                del self.history[self._random.choice(users) :]
                self.queue.clear()
                self._store(Role.USER, *self.user_content(self.provider))
            case "interrupt":
                asked = self.status is Status.REQUIRES_ACTION
                if self._move(Transition.INTERRUPT) and asked:
                    self._cancel_calls()
                    self._promote()
            case "results" if self.status is Status.REQUIRES_ACTION:
                calls = [call.part for call in pending_tool_calls(self.history)]
                self._store(Role.TOOL, *(self._result(call) for call in calls))
                self._move(Transition.SUBMIT_TOOL_RESULTS)
            case "expire" if self.status is Status.REQUIRES_ACTION:
                calls = [call.part for call in pending_tool_calls(self.history)]
                self._store_new([error_results(calls, lambda _: "timed out")])
                self._move(Transition.EXPIRE_ACTION)
            case "retry":
                self._move(Transition.RETRY)
            case "clear" if self._move(Transition.CLEAR):
                self.history = [m for m in self.history if m.role is Role.SYSTEM]
            case _:
                pass

    def _result(self, call: Part) -> Part:
        return {
            "type": "tool-result",
            "tool_call_id": call["tool_call_id"],
            "tool_name": call["tool_name"],
            "result": self._random.choice(_RESULTS),
            "is_error": self._random.random() < 0.3,
            "files": self._images() if self._random.random() < 0.2 else [],
        }

    def _images(self) -> list[Part]:
        types = ("image/png", "image/svg+xml", "image/webp")
        return [
            file_part(self._random.choice(types), _PNG) for _ in range(self._random.randint(1, 3))
        ]

    def _cancel_calls(self) -> None:
        if calls := [call.part for call in pending_tool_calls(self.history)]:
            self._store_new([error_results(calls, lambda _: "cancelled")])

    def _promote(self) -> None:
        if self.queue:
            self._add_user_message(*self.queue.pop(0))

    # What the worker does

    def _work(self) -> None:
        match self.status:
            case Status.PENDING:
                self._move(Transition.CLAIM)
            case Status.INTERRUPTING:
                deltas = self.deltas() if self._calls_model() else []
                self._store_new(self._interrupted(deltas))
                self._cancel_calls()
                self._move(Transition.FINISH_INTERRUPT)
                self._promote()
            case Status.RUNNING if self._calls_model():
                self._answer()
            case Status.RUNNING:
                self._go_on()
            case _:
                pass

    def _interrupted(self, deltas: list[Part]) -> list[NewMessage]:
        cut = deltas[: self._random.randint(0, len(deltas))]
        return list(interrupted_message(fold(cut), model_config_id=_MODEL_ID))

    def _answer(self) -> None:
        if self._random.random() < 0.2:
            self._move(self._random.choice((Transition.FAIL, Transition.RELEASE)))
            return
        deltas, reason = self.deltas(), self._random.choice(_FINISH_REASONS)
        if PROVIDERS[self.provider] == "anthropic" and self._random.random() < 0.1:
            reason = PAUSED
        if reason == "length":
            deltas = deltas[: self._random.randint(0, len(deltas))]
        content = fold(deltas)
        if reason == "stop" and any(part["type"] == "tool-call" for part in content):
            reason = "tool_call"
        self._store(Role.ASSISTANT, *content, finish_reason=reason)
        self._go_on()

    def _go_on(self) -> None:
        match next_step(self.history, tools=_TOOLS):
            case OpenCalls(calls) as step:
                if step.all_closed:
                    self._store_new([errors_of(calls)])
                else:
                    self._move(Transition.REQUIRE_ACTION)
            case Finish():
                self._move(Transition.FINISH_TURN)
                self._promote()
            case CallModel():
                pass
            case step:
                raise AssertionError(step)

    # What a model and a user write

    def _text(self, *texts: str) -> Part:
        return {"type": "text", "text": self._random.choice(texts or TEXTS)}

    def user_content(self, provider: str) -> tuple[Part, ...]:
        """Return what the API lets through: some text or a file, and files that the provider takes."""
        while True:
            files = [self._file() for _ in range(self._random.choice((0, 0, 0, 1, 2)))]
            parts = (*(self._text() for _ in range(self._random.choice((0, 1, 1, 2)))), *files)
            is_blank = all(part.get("text", "x").strip() == "" for part in parts)
            if not is_blank and all(self._allows(provider, part) for part in files):
                return parts

    def _file(self) -> Part:
        media_type, data = self._random.choice(_FILES)
        return file_part(media_type, data)
