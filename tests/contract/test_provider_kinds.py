"""Provider kinds by name: where each calls, and how it names the limit of an answer."""

from typing import Any

import pytest
from support.field_cases import DONE, STOP, text
from support.model_server import ModelResponse, model_server
from support.provider_cases import collect, request

from chatd.llm.vendors import PROVIDER_KINDS
from chatd.llm.vendors import openai as connectors
from chatd.llm.vendors.pydantic_ai import PydanticAIProvider

CHAT_KINDS = [
    kind for kind in PROVIDER_KINDS.values() if kind.connector == "openai:connect_compatible"
]


def test_familiar_names_are_kinds() -> None:
    names = "azure openrouter ollama vllm deepseek groq mistral gemini openai-compatible"
    assert {kind.name for kind in CHAT_KINDS} == set(names.split())


@pytest.mark.parametrize("kind", CHAT_KINDS, ids=lambda kind: kind.name)
def test_kind_has_an_address_or_needs_one(kind: Any) -> None:
    assert (kind.base_url is None) is kind.needs_base_url
    assert kind.tried_against


@pytest.mark.parametrize("kind", CHAT_KINDS, ids=lambda kind: kind.name)
async def test_limit_of_an_answer_has_the_name_of_the_kind(kind: Any) -> None:
    async with model_server(ModelResponse(pieces=[text("Hello"), STOP, DONE])) as server:
        provider = PydanticAIProvider(
            name="acme", kind=kind.name, base_url=f"{server.url}/x", api_key="sk-secret"
        )
        result = await collect(provider, request(kind.name, max_output_tokens=77))
        await provider.aclose()
        [sent] = server.requests
    assert result.content[0]["text"] == "Hello"
    assert sent.path == "/x/chat/completions"
    assert sent.headers["authorization"] == "Bearer sk-secret"
    name = "max_completion_tokens" if kind.name == "azure" else "max_tokens"
    assert {key: value for key, value in sent.body.items() if "max" in key} == {name: 77}


@pytest.mark.parametrize("kind", CHAT_KINDS, ids=lambda kind: kind.name)
async def test_kind_calls_its_own_address_without_a_configured_one(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints: list[Any] = []
    connect = connectors.connect_compatible
    monkeypatch.setattr(
        connectors, "connect_compatible", lambda given: endpoints.append(given) or connect(given)
    )
    provider = PydanticAIProvider(name="acme", kind=kind.name)
    await provider.warm()
    await provider.aclose()
    assert [endpoint.base_url for endpoint in endpoints] == [kind.base_url]
