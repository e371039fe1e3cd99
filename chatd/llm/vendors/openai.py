"""Connectors to OpenAI and to compatible servers. Imported late, see ``pydantic_ai``."""

import httpx2
from openai import AsyncOpenAI
from pydantic_ai.models import Model
from pydantic_ai.models.openai import (
    OpenAIChatModel,
    OpenAIChatModelSettings,
    OpenAIResponsesModel,
    OpenAIResponsesModelSettings,
)
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

from chatd.llm.vendors.client import (
    AS_GIVEN_PROFILE,
    NO_THINKING_TAGS,
    ProviderClient,
    ProviderEndpoint,
)
from chatd.llm.vendors.thinking_tags import TAGGED_MODELS
from chatd.llm.vendors.wire.chat_completions import ChatCompletions
from chatd.llm.vendors.wire.responses import Responses

OPENAI_URL = "https://api.openai.com/v1"


def connect_openai(endpoint: ProviderEndpoint) -> ProviderClient:
    """Connect to OpenAI's Responses API, whose reasoning can be sent back.

    Nothing is stored at OpenAI (``openai_store``): chatd sends the whole history with each call.
    """
    http = endpoint.http_client(Responses)
    provider = OpenAIProvider(openai_client=_sdk_client(endpoint, http))

    def model(name: str) -> Model[AsyncOpenAI]:
        settings = OpenAIResponsesModelSettings(framing_announcement="never", openai_store=False)
        return OpenAIResponsesModel(
            name, provider=provider, profile=AS_GIVEN_PROFILE, settings=settings
        )

    known = frozenset(OpenAIResponsesModelSettings.__annotations__)
    return ProviderClient(endpoint, http=http, make_model=model, known_settings=known)


def connect_compatible(endpoint: ProviderEndpoint) -> ProviderClient:
    """Connect to a compatible server by Chat Completions.

    The limit of an answer is ``max_tokens``, which almost all of them accept. The kind says which does not.
    """
    http = endpoint.http_client(ChatCompletions)
    provider = OpenAICompatibleProvider(endpoint.name, openai_client=_sdk_client(endpoint, http))
    profile = OpenAIModelProfile(
        openai_chat_supports_max_completion_tokens=endpoint.takes_max_completion_tokens,
        thinking_tags=NO_THINKING_TAGS,
        json_schema_transformer=None,
    )

    def model(name: str) -> Model[AsyncOpenAI]:
        settings = OpenAIChatModelSettings(framing_announcement="never")
        return OpenAIChatModel(name, provider=provider, profile=profile, settings=settings)

    known = frozenset(OpenAIChatModelSettings.__annotations__)
    return ProviderClient(
        endpoint, http=http, make_model=model, known_settings=known, tagged_models=TAGGED_MODELS
    )


def _sdk_client(endpoint: ProviderEndpoint, http: httpx2.AsyncClient) -> AsyncOpenAI:
    return AsyncOpenAI(
        api_key=endpoint.api_key or "none",  # the SDK requires one, local servers ignore it
        base_url=endpoint.base_url or OPENAI_URL,
        default_headers=endpoint.headers,
        timeout=http.timeout,
        max_retries=0,
        http_client=http,
    )
