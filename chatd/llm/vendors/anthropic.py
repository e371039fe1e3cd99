"""Connector to Anthropic. Imported late, see ``pydantic_ai``."""

from anthropic import AsyncAnthropic
from pydantic_ai.models.anthropic import AnthropicModel, AnthropicModelSettings
from pydantic_ai.providers.anthropic import AnthropicProvider

from chatd.llm.vendors.client import AS_GIVEN_PROFILE, ProviderClient, ProviderEndpoint
from chatd.llm.vendors.wire.anthropic_messages import AnthropicMessages

ANTHROPIC_URL = "https://api.anthropic.com"


def connect_anthropic(endpoint: ProviderEndpoint) -> ProviderClient:
    """Connect to the Messages API.

    The model calls web tools itself (``direct``), not from code that it runs: the state of such code is in
    a container at Anthropic.
    """
    http = endpoint.http_client(AnthropicMessages)
    client = AsyncAnthropic(
        api_key=endpoint.api_key,
        base_url=endpoint.base_url or ANTHROPIC_URL,
        default_headers=endpoint.headers,
        timeout=http.timeout,
        max_retries=0,
        http_client=http,
    )
    provider = AnthropicProvider(anthropic_client=client)

    def model(name: str) -> AnthropicModel:
        settings = AnthropicModelSettings(
            framing_announcement="never", anthropic_web_tools_allowed_callers=["direct"]
        )
        return AnthropicModel(name, provider=provider, profile=AS_GIVEN_PROFILE, settings=settings)

    known = frozenset(AnthropicModelSettings.__annotations__)
    return ProviderClient(endpoint, http=http, make_model=model, known_settings=known)
