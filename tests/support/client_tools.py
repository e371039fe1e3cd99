"""Chats with client tools, and a provider that calls them."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from chatd.domain.message import Role
from chatd.llm.provider import Delta, ModelRequest, PartDelta
from support.eventually import eventually
from support.in_process import InProcessDaemon
from support.providers import FunctionProvider, finished, text_delta, tool_call_delta

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"name": "weather", "description": "How it is.", "parameters": SCHEMA}
CLOCK = {"name": "clock", "parameters": {"type": "object"}}
TOOLS = [WEATHER, CLOCK]
OSLO = '{"city": "Oslo"}'


def calling_provider(*answers: Sequence[PartDelta]) -> FunctionProvider:
    """Return a provider that makes these calls, one response after the other, then counts the results."""

    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        responses = sum(m.role is Role.ASSISTANT for m in request.messages)
        if responses < len(answers):
            yield text_delta("Let me look. ")
            for call in answers[responses]:
                yield PartDelta({**call.part, "index": call.part["index"] + 1})
            yield finished("tool_call")
        else:
            yield text_delta(f"{len(results_in(request))} results")
            yield finished()

    return FunctionProvider(act)


def provider_of_rounds(*rounds: Sequence[tuple[str, str]]) -> FunctionProvider:
    """Return a model that calls tools with arguments, a round after the other, with ids used again."""

    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        made = sum(m.role is Role.ASSISTANT for m in request.messages)
        if made < len(rounds):
            for index, (name, args) in enumerate(rounds[made]):
                yield tool_call_delta(name, f"c{index}", args, index=index)
            yield finished("tool_call")
        else:
            yield text_delta("done")
            yield finished()

    return FunctionProvider(act)


def results_in(request: ModelRequest) -> list[tuple[str, Any, bool]]:
    return [
        (part["tool_call_id"], part["result"], part["is_error"])
        for message in request.messages
        for part in message.content
        if part["type"] == "tool-result"
    ]


async def results_of_all_calls(chatd: InProcessDaemon, chat_id: str) -> list[Any]:
    """Check that each call of the history has one result, in order. Return the results."""
    parts = [part for m in await chatd.api.messages(chat_id) for part in m["content"]]
    calls = [part["tool_call_id"] for part in parts if part["type"] == "tool-call"]
    results = [part for part in parts if part["type"] == "tool-result"]
    assert [part["tool_call_id"] for part in results] == calls
    return [part["result"] for part in results]


async def waiting_chat(
    chatd: InProcessDaemon, provider: FunctionProvider, **more: Any
) -> dict[str, Any]:
    """Create a chat and wait until it requires action."""
    chat = await chatd.api.create("go", tools=TOOLS, **more)
    assert chat["action_deadline"] is None
    chat = await chatd.api.wait_for_status(chat["id"], "requires_action")
    assert len(provider.requests) == 1
    await eventually(lambda: not chatd.daemon.chat_tasks.leases)
    return chat
