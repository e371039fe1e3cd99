"""Redirects: the conversation and its secret headers go to no other origin."""

import pytest
from support.field_cases import CHAT, DONE, STOP, text
from support.model_server import ModelResponse, model_server
from support.provider_cases import StreamResult, attempt

from chatd.domain.failure import Failure
from chatd.llm.vendors.pydantic_ai import PydanticAIProvider


async def redirected(status: int, location: str) -> tuple[StreamResult | Failure, list[str]]:
    """Call a server that redirects its first request. Return the outcome and the paths requested."""
    first = ModelResponse(pieces=[], status=status, headers={"location": location})
    async with model_server(first, ModelResponse(pieces=[text("Hello") + STOP + DONE])) as server:
        provider = PydanticAIProvider(
            name="acme", kind=CHAT, base_url=f"{server.url}/v1", api_key="sk-secret"
        )
        outcome = await attempt(provider, CHAT)
        await provider.aclose()
        return outcome, [sent.path for sent in server.requests]


@pytest.mark.parametrize("status", [307, 308])
async def test_redirect_within_the_origin_is_followed(status: int) -> None:
    outcome, paths = await redirected(status, "/v2/chat/completions")
    assert isinstance(outcome, StreamResult)
    assert paths == ["/v1/chat/completions", "/v2/chat/completions"]


@pytest.mark.parametrize(
    ("status", "location"),
    [
        (307, "http://localhost:1/v1/chat/completions"),
        (308, "https://evil.example/v1"),
        (302, "/v2/chat/completions"),
        (307, "not a : url\x7f"),
        (304, ""),
    ],
)
async def test_other_redirect_is_not_followed(status: int, location: str) -> None:
    outcome, paths = await redirected(status, location)
    assert isinstance(outcome, Failure)
    assert paths == ["/v1/chat/completions"]
    assert "sk-secret" not in outcome.message
