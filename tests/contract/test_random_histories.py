"""Property: every history that transitions may lead to gives a request that its provider accepts.

``CHATD_TEST_TRIALS=10`` tries 6,000 of them, at 5 ms each, most of it in the SDKs of the providers.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from support.captured_requests import CapturingProvider, rules_of
from support.random_histories import PROVIDERS, RandomChat
from support.request_rules import DIALECTS, violations
from support.trials import trials

from chatd.domain.message import NATIVE_PART_TYPES, PAUSED, Part
from chatd.llm.native_tools import NativeTool
from chatd.llm.provider import ToolSpec
from chatd.llm.vendors import PROVIDER_KINDS
from chatd.llm.vendors.files import refusal

HISTORIES = trials(600)
BATCHES = 20
STEPS = 20
TOOL = ToolSpec(
    name="weather",
    description="",
    parameters={"type": "object", "properties": {"headers": {"type": "object"}}},
)
NATIVE_TOOLS = (NativeTool(kind="web_search"), NativeTool(kind="code_execution"))


def takes(provider: str, part: Part) -> bool:
    """Return True if the API would let this file through for this provider."""
    return refusal(part, file_types=rules_of(PROVIDERS[provider]).file_types) is None


def random_chats(batch: int) -> Iterator[tuple[int, RandomChat]]:
    size = HISTORIES // BATCHES
    for seed in range(batch * size, (batch + 1) * size):
        chat = RandomChat(seed, allows=takes)
        chat.run(STEPS)
        yield seed, chat


@asynccontextmanager
async def capturing_providers() -> AsyncIterator[dict[str, CapturingProvider]]:
    providers = {name: CapturingProvider(kind, name=name) for name, kind in PROVIDERS.items()}
    yield providers
    for provider in providers.values():
        await provider.aclose()


@pytest.mark.parametrize("batch", range(BATCHES))
async def test_every_history_is_acceptable_to_its_provider(batch: int) -> None:
    async with capturing_providers() as providers:
        for seed, chat in random_chats(batch):
            provider = providers[chat.provider]
            offered = NATIVE_TOOLS if PROVIDER_KINDS[provider.kind].native_tools else ()
            body = await provider.body(
                chat.history, tools=(TOOL,), native_tools=offered if seed % 3 else ()
            )
            breaches = violations(body, DIALECTS[provider.kind])
            assert not breaches, f"seed {seed}, {provider.kind}: {breaches}"


async def test_the_histories_hold_what_they_are_meant_to() -> None:
    chats = [chat for _, chat in random_chats(0)]
    messages = [message for chat in chats for message in chat.history]
    assert {chat.provider for chat in chats} == set(PROVIDERS)
    assert {m.finish_reason for m in messages} >= {
        "interrupted",
        "length",
        "stop",
        "tool_call",
        PAUSED,
    }
    kinds = {part["type"] for message in messages for part in message.content}
    assert kinds == {"text", "reasoning", "tool-call", "tool-result", "file", *NATIVE_PART_TYPES}
    roles = [[m.role for m in chat.history] for chat in chats]
    assert any(a == b == "user" for line in roles for a, b in pairwise(line))
    assert any((a, b) == ("tool", "user") for line in roles for a, b in pairwise(line))
    assert any(not m.content for m in messages), "an empty answer"
