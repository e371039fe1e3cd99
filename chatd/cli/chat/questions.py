"""Questions of a chat to a person, and the lines that answer them."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from chatd.cli.chat.input_form import InputForm
from chatd.cli.formatting import local_time
from chatd.cli.tool_calls import args_lines, call_text
from chatd.client import (
    Action,
    ActionAnswered,
    ActionRequired,
    Client,
    Conflict,
    InvalidRequest,
    Transcript,
)

DECISION_WORDS = {
    "allow": "allowed",
    "deny": "not allowed",
    "accept": "answered",
    "decline": "declined",
    "cancel": "cancelled",
    "expired": "nobody answered in time",
}
"""Decisions about calls in words. That a client has sent a result goes without saying."""

_APPROVAL_HELP = "y: yes   n [REASON]: no   always, never: also later calls in this chat"
_LATE_CODES = frozenset({"no_action_required", "tool_call_unknown"})


class Questions:
    """Questions that the chat asks people, one after the other, in the order of their calls."""

    def __init__(self, client: Client, transcript: Transcript) -> None:
        self._client = client
        self._transcript = transcript
        self._answered: set[tuple[str, str]] = set()
        """Answered questions that the transcript may still have."""
        self._shown: tuple[str, str] | None = None
        """The question that the person sees, to which a typed line belongs."""
        self._asks_reason = False
        self._form: InputForm | None = None
        self._form_of: tuple[str, str] | None = None

    @property
    def current(self) -> Action | None:
        """The question to answer next. None: the chat asks nothing, or clients only."""
        return next(iter(self._open), None)

    @property
    def _open(self) -> list[Action]:
        required = self._transcript.action_required
        return [
            action
            for action in (required["calls"] if required else ())
            if action["kind"] != "result" and _identity(action) not in self._answered
        ]

    def lines(self) -> list[str]:
        """Return the current question and what may be typed."""
        action = self.current
        self._shown = None if action is None else _identity(action)
        if action is None:
            return []
        until = f"until {local_time(action['expires_at'])}"
        if (others := len(self._open) - 1) > 0:
            until += f"   {others} more after this"
        if action["kind"] == "input":
            title, *more = self._input_form(action).lines()
            return [f"? {title}", *(f"  {line}" for line in (*more, until))]
        name, details = action["tool_name"], args_lines(action["args"])
        details += [action["message"]] if action["message"] else []
        hint = "Why not? Enter: without a reason" if self._asks_reason else _APPROVAL_HELP
        # The name is next to the prompt, too: long arguments may scroll its first line away.
        call = [f"* {name}", *(f"  {line}" for line in details)]
        return [*call, f"? May {name} run?   {until}", f"  {hint}"]

    async def answer(self, chat_id: str, line: str) -> tuple[bool, str | None]:
        """Take a line that was typed for the current question.

        Return whether the question is answered with it, and text to show, if any.
        """
        action = self.current
        if action is None:
            return False, None
        if _identity(action) != self._shown:
            self._asks_reason = False
            return False, "The question has changed. Answer this one."
        if action["kind"] == "input":
            form = self._input_form(action)
            if problem := form.take(line):
                return False, problem
            if not form.complete:
                return False, None
            return await self._post_input(chat_id, action, "accept", form.content)
        return await self._answer_approval(chat_id, action, line)

    async def decline(self, chat_id: str) -> tuple[bool, str | None]:
        """Answer the current question with no, whatever it is."""
        action = self.current
        if action is None:
            return False, "Nothing is asked."
        if action["kind"] == "input":
            return await self._post_input(chat_id, action, "decline", None)
        self._asks_reason = False
        return await self._post(action, lambda: self._client.deny(chat_id, action["tool_call_id"]))

    async def _answer_approval(
        self, chat_id: str, action: Action, line: str
    ) -> tuple[bool, str | None]:
        call_id, (word, _, reason) = action["tool_call_id"], line.partition(" ")
        if self._asks_reason:
            self._asks_reason, word, reason = False, "n", line or " "
        match word.lower():
            case "y" | "yes" | "a" | "always":
                always = word.lower().startswith("a")
                return await self._post(
                    action, lambda: self._client.approve(chat_id, call_id, remember=always)
                )
            case "n" | "no" if not reason:
                self._asks_reason = True
                return False, None
            case "n" | "no" | "never":
                never = word.lower() == "never"
                return await self._post(
                    action,
                    lambda: self._client.deny(
                        chat_id, call_id, reason=reason.strip() or None, remember=never
                    ),
                )
        return False, f"Answer the question first. {_APPROVAL_HELP}   /queue TEXT: a message"

    async def _post_input(
        self, chat_id: str, action: Action, decision: Any, content: Any
    ) -> tuple[bool, str | None]:
        answer: Any = {
            "tool_call_id": action["tool_call_id"],
            "input": decision,
            "question_number": action["question_number"],
        }
        if decision == "accept":
            answer["content"] = content
        return await self._post(action, lambda: self._client.answer_actions(chat_id, [answer]))

    async def _post(
        self, action: Action, post: Callable[[], Awaitable[object]]
    ) -> tuple[bool, str | None]:
        """Send an answer. Another one that came first is no error: the reply says so."""
        self._form = self._form_of = None
        try:
            await post()
        except Conflict as error:
            if error.code not in {"already_answered", *_LATE_CODES}:
                raise
            self._mark_answered(action)
            return True, _standing(error)
        except InvalidRequest as error:
            if error.code not in _LATE_CODES:
                return False, str(error)
            self._mark_answered(action)
            return True, "The chat no longer waits for this."
        self._mark_answered(action)
        return True, None

    def _mark_answered(self, action: Action) -> None:
        required = self._transcript.action_required
        asked = {_identity(call) for call in required["calls"]} if required else set()
        self._answered = (self._answered & asked) | {_identity(action)}

    def _input_form(self, action: Action) -> InputForm:
        if self._form is None or self._form_of != _identity(action):
            title = action["message"] or call_text(action["tool_name"], action["args"])
            self._form, self._form_of = InputForm(title, action["schema"]), _identity(action)
        return self._form


def action_notices(event: ActionRequired | ActionAnswered) -> Iterator[str]:
    """Yield which clients are waited for, and what was answered, by this person or by others."""
    if isinstance(event, ActionRequired):
        calls = [call for call in event.data["calls"] if call["kind"] == "result"]
        if names := ", ".join(call["tool_name"] for call in calls):
            yield f"waiting for another client to run {names}"
        return
    for answered in event.data["answered"]:
        if word := DECISION_WORDS.get(answered["decision"]):
            yield f"{answered['tool_name']}: {word}"


def _identity(action: Action) -> tuple[str, str]:
    """Return what tells a question from others. Models use ids of calls again."""
    return action["tool_call_id"], action["expires_at"]


def _standing(error: Conflict) -> str:
    """Return the decision that came first, in words."""
    for decision in error.decisions:
        word = DECISION_WORDS.get(decision["decision"] or "", "")
        reason = f": {decision['reason']}" if decision["reason"] else ""
        if word:
            return f"Another answer came first: {word}{reason}"
    return "The chat no longer waits for this."
