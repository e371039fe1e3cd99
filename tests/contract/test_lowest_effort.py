"""Calls with the lowest effort as they go out, whatever the settings of the model say."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from support.captured_requests import CapturingProvider
from support.factories import text_content

from chatd.domain.message import Message, Role
from chatd.llm.effort import lowest_effort

MESSAGE = Message(
    id=1,
    chat_id=uuid4(),
    version=1,
    role=Role.USER,
    content=text_content("hi"),
    model_config_id=None,
    usage=None,
    finish_reason=None,
    created_at=datetime.now(UTC),
)
HIGH = {"openai_reasoning_effort": "high"}
BUDGET = {"anthropic_thinking": {"type": "enabled", "budget_tokens": 2000}}


@pytest.mark.parametrize(
    ("kind", "model", "settings", "sent"),
    [
        ("openai", "gpt-5-mini", HIGH, {"reasoning": {"effort": "minimal"}}),
        ("openai", "o3", HIGH, {"reasoning": {"effort": "low"}}),
        ("openai", "gpt-4o", {"temperature": 0.5}, {"temperature": 0.5}),
        ("anthropic", "claude-sonnet-5", {"thinking": "high"}, {"thinking": {"type": "disabled"}}),
        ("anthropic", "claude-haiku-4-5", BUDGET, {}),
        ("openai-compatible", "llama", HIGH, {}),
    ],
)
async def test_model_thinks_as_little_as_it_can(
    kind: str, model: str, settings: dict[str, Any], sent: dict[str, Any]
) -> None:
    provider = CapturingProvider(kind, name="p", model=model)
    body = await provider.body([MESSAGE], **lowest_effort(settings))
    await provider.aclose()
    names = ("reasoning", "reasoning_effort", "thinking", "output_config", "temperature")
    assert {name: body[name] for name in names if name in body} == sent
