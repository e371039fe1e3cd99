"""A provider that plays a script: for tests, the demo, and long soaks without a vendor.

It speaks the same protocol as a vendor and fails in the same ways, so everything upstairs can be
tried without a network. It remembers nothing about a chat: which turn and which call it is asked
for follows from the history it is sent. Only attempts are counted, per history, in this process.
"""

import re
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from uuid import UUID

import anyio
import anyio.lowlevel

from chatd.domain.message import Role, text_of
from chatd.llm.provider import Delta, ModelRequest
from chatd.llm.scripted.rendering import (
    ScriptContext,
    exception_for,
    finished_delta,
    part_type,
    step_deltas,
)
from chatd.llm.scripted.script import DEFAULT_SCRIPT, Finish, Script, Step

_MARKER = re.compile(r"\[\[([\w-]+)\]\]")
_MAX_COUNTED_HISTORIES = 10_000
"""Histories whose attempts are counted; the oldest are forgotten."""
_CHECKPOINT_EVERY = 64
"""Pieces without a delay between two checkpoints: one long answer must not hold up the loop."""


class ScriptedProvider:
    """Plays ``sql_script``, or the one of ``scripts`` that the last user message names: ``[[name]]``.

    ``calls`` counts the calls so far and ``open_streams`` the streams that are open now; ``on_call`` is
    called with each request, and what it raises, the provider raises.
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
        """Nothing is slow here."""
        await anyio.lowlevel.checkpoint()

    def stream(self, request: ModelRequest) -> AbstractAsyncContextManager[AsyncGenerator[Delta]]:
        return aclosing(self._play(request))

    async def aclose(self) -> None:
        """Nothing is kept here."""
        await anyio.lowlevel.checkpoint()

    async def _play(self, request: ModelRequest) -> AsyncGenerator[Delta]:
        self.calls += 1
        self.open_streams += 1
        try:
            if self.on_call is not None:
                self.on_call(request)
            await anyio.lowlevel.checkpoint()
            script, scene = self._select_script(request)
            async with aclosing(_play_steps(script, scene)) as deltas:
                async for delta in deltas:
                    yield delta
        finally:
            self.open_streams -= 1

    def _select_script(self, request: ModelRequest) -> tuple[Script, ScriptContext]:
        """Find the script and the scene, reading the history from its end."""
        said, call, turn = "", 1, 0
        for message in reversed(request.messages):
            if message.role is Role.USER:
                turn += 1
                said = said if turn > 1 else text_of(message.content)
            elif message.role is Role.ASSISTANT and not turn:
                call += 1
        script = self._script
        if "[[" in said:
            named = _MARKER.search(said)
            script = self._scripts.get(named[1], script) if named else script
            said = _MARKER.sub("", said).strip()
        attempt = self._count_attempt(request)
        return script, ScriptContext(
            message=said, model=request.model, attempt=attempt, call=call, turn=turn
        )

    def _count_attempt(self, request: ModelRequest) -> int:
        """Which attempt at exactly this history this is, from 1."""
        if not request.messages:
            return 1
        last = request.messages[-1]
        key = (last.chat_id, last.id)
        attempt = self._attempts[key] = self._attempts.pop(key, 0) + 1
        if len(self._attempts) > _MAX_COUNTED_HISTORIES:
            self._attempts.popitem(last=False)
        return attempt


async def _play_steps(script: Script, context: ScriptContext) -> AsyncGenerator[Delta]:
    index, before, spoken, reason = -1, None, 0, "stop"
    for step in filter(context.matches, script):
        kind = part_type(step)
        if kind is None:
            await _run_action(step)
            if step.finish is not None:
                yield finished_delta(step.finish, context, delta_count=spoken)
            if step.finish is not None or step.cut:
                return
            continue
        if kind == "tool-call":
            reason = "tool_call"
        if kind == "tool-call" or kind != before:
            index, before = index + 1, kind
        for fragment in step_deltas(step, context, index=index):
            spoken += 1
            await _pause(step, spoken)
            yield fragment
    yield finished_delta(Finish(reason=reason), context, delta_count=spoken)


async def _pause(step: Step, delta_count: int) -> None:
    if step.delay_seconds:
        await anyio.sleep(step.delay_seconds)
    elif delta_count % _CHECKPOINT_EVERY == 0:
        await anyio.lowlevel.checkpoint()


async def _run_action(step: Step) -> None:
    """Wait, hang, block or raise, if that is what the step is for."""
    if step.wait_seconds is not None:
        await anyio.sleep(step.wait_seconds)
    elif step.hang:
        await anyio.sleep_forever()
    elif step.block_seconds is not None:
        time.sleep(step.block_seconds)  # noqa: ASYNC251 - to hold the event loop is what it is for
    elif step.panic is not None:
        raise RuntimeError(step.panic)
    elif step.error is not None:
        raise exception_for(step.error)
