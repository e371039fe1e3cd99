"""Provider that plays a script.

It keeps no state of a chat: the numbers of the turn and of the call follow from the history that it is
sent. Only attempts are counted, per history, in this process.
"""

import json
import re
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any
from uuid import UUID

import anyio
import anyio.lowlevel

from chatd.domain.message import Part, Role, covered_steps, text_of
from chatd.domain.outcomes import CallPurpose
from chatd.domain.request_size import message_tokens
from chatd.llm.provider import Delta, ModelRequest
from chatd.llm.scripted.rendering import (
    ScriptContext,
    exception_for,
    finished_delta,
    part_type,
    step_deltas,
)
from chatd.llm.scripted.script import DEFAULT_SCRIPT, SUMMARY_SCRIPT, Finish, Script, Step

SUMMARY = "summary"
"""Name of the script that is played for a summary."""
_MARKER = re.compile(r"\[\[([\w-]+)\]\]")
_MAX_COUNTED_HISTORIES = 10_000
"""Number of histories whose attempts are counted. The oldest is dropped first."""
_CHECKPOINT_EVERY = 64
"""Deltas without a delay between two checkpoints, so that a long response does not block the loop."""
_ENDS = {reason: Finish(reason=reason) for reason in ("stop", "tool_call")}
"""The ends of scripts that name none."""


class ScriptedProvider:
    """Provider that plays ``script``, or the one of ``scripts`` that the last user message names.

    A message names a script as ``[[name]]``.
    ``calls`` counts the calls so far, ``open_streams`` the streams that are open now. ``on_call`` is called
    with each request, and its exceptions are raised by the provider.
    """

    def __init__(
        self,
        *,
        name: str = "scripted",
        script: Script = DEFAULT_SCRIPT,
        scripts: Mapping[str, Script] | None = None,
        on_call: Callable[[ModelRequest], None] | None = None,
    ) -> None:
        self._name = name
        self._script = script
        self._scripts = dict(scripts or {})
        self.on_call = on_call
        self._attempts: OrderedDict[tuple[UUID, int], int] = OrderedDict()
        self.calls = 0
        self.open_streams = 0

    @property
    def name(self) -> str:
        return self._name

    async def warm(self) -> None:
        """Do nothing: there is nothing slow to prepare."""

    def file_refusal(self, part: Part) -> None:
        """Return None: it takes every file."""

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncIterator[AsyncGenerator[Delta]]:
        """Play the script that the request selects."""
        self.calls += 1
        self.open_streams += 1
        try:
            if self.on_call is not None:
                self.on_call(request)
            script, context = self._select_script(request)
            async with aclosing(_play(script, context)) as deltas:
                yield deltas
        finally:
            self.open_streams -= 1

    async def aclose(self) -> None:
        """Do nothing: there are no connections."""
        await anyio.lowlevel.checkpoint()

    def _select_script(self, request: ModelRequest) -> tuple[Script, ScriptContext]:
        """Return the script and its context, by reading the history from its end."""
        text, call = "", 1
        for message in reversed(request.messages):
            if message.role is Role.USER:
                # In the middle of a turn, a summary ends with the message that is being answered.
                text = text_of(message.content[-1:] if message.covers_until else message.content)
                call += covered_steps(message)
                break
            call += message.role is Role.ASSISTANT
        turn = [message.role for message in request.messages].count(Role.USER)
        script = self._script
        if request.purpose is CallPurpose.SUMMARY:
            script, text = self._scripts.get(SUMMARY, SUMMARY_SCRIPT), ""
        elif "[[" in text:
            marker = _MARKER.search(text)
            script = self._scripts.get(marker[1], script) if marker else script
            text = _MARKER.sub("", text).strip()
        attempt = self._count_attempt(request)
        return script, ScriptContext(
            message=text,
            model=request.model,
            attempt=attempt,
            call=call,
            turn=turn,
            result=_tool_results(request),
            result_of=partial(_result_of, request),
            tokens=_tokens_for(script, request),
        )

    def _count_attempt(self, request: ModelRequest) -> int:
        """Return the number of this attempt at exactly this history, from 1."""
        if not request.messages:
            return 1
        last = request.messages[-1]
        key = (last.chat_id, last.id)
        attempt = self._attempts[key] = self._attempts.pop(key, 0) + 1
        if len(self._attempts) > _MAX_COUNTED_HISTORIES:
            self._attempts.popitem(last=False)
        return attempt


def _tokens_for(script: Script, request: ModelRequest) -> int | None:
    """Return the tokens of the request, if the script plays a model with a window."""
    if all(step.above_tokens is None for step in script):
        return None
    return sum(map(message_tokens, request.messages))


def _tool_results(request: ModelRequest) -> str:
    """Return the results that the model is called with, one below the other."""
    last = request.messages[-1] if request.messages else None
    if last is None or last.role is not Role.TOOL:
        return ""
    results = [part["result"] for part in last.content if part["type"] == "tool-result"]
    return "\n".join(one if isinstance(one, str) else json.dumps(one) for one in results)


def _result_of(request: ModelRequest, call_id: str) -> Any:
    """Return the latest result of the calls with this id. None: there is none."""
    for message in reversed(request.messages):
        for part in message.content if message.role is Role.TOOL else ():
            if part["type"] == "tool-result" and part.get("tool_call_id") == call_id:
                return part["result"]
    return None


async def _play(script: Script, context: ScriptContext) -> AsyncGenerator[Delta]:
    index, previous_type, delta_count, reason = -1, None, 0, "stop"
    for step in filter(context.matches, script):
        type_ = part_type(step)
        if type_ is None:
            await _run_action(step)
            if step.finish is not None:
                yield finished_delta(step.finish, context, delta_count=delta_count)
            if step.finish is not None or step.cut:
                return
            continue
        if type_ == "tool-call":
            reason = "tool_call"
        if type_ == "tool-call" or type_ != previous_type:
            index, previous_type = index + 1, type_
        for delta in step_deltas(step, context, index=index):
            delta_count += 1
            if step.delay_seconds:
                await anyio.sleep(step.delay_seconds)
            elif delta_count % _CHECKPOINT_EVERY == 0:
                await anyio.lowlevel.checkpoint()
            yield delta
    yield finished_delta(_ENDS[reason], context, delta_count=delta_count)


async def _run_action(step: Step) -> None:
    """Wait, hang, block or raise, as the step says."""
    if step.wait_seconds is not None:
        await anyio.sleep(step.wait_seconds)
    elif step.hang:
        await anyio.sleep_forever()
    elif step.block_seconds is not None:
        time.sleep(step.block_seconds)  # noqa: ASYNC251 - blocking the event loop is its purpose
    elif step.panic is not None:
        raise RuntimeError(step.panic)
    elif step.error is not None:
        raise exception_for(step.error)
