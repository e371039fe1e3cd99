"""Provider kinds, and the adapters to their SDKs.

``PROVIDER_KINDS`` is the one list of kinds. The catalog, the settings, the development model of the CLI and
the classification of failures all read it, so that a new kind is three edits: a module with its connector
beside ``openai``, a row here, and an extra in ``pyproject.toml``.

::

    pydantic_ai   a provider over pydantic-ai's model classes; loads the rest when first needed
      ├─ openai, anthropic   connectors: how each API is reached
      └─ client              one connected API: an HTTP client, its models, a call
           ├─ history        our messages → turns that the provider accepts
           ├─ encode         these turns → pydantic-ai's messages
           └─ decode         pydantic-ai's events → our deltas

Importing an SDK takes about a second of CPU. So this module and ``pydantic_ai`` import none: connectors are
named here by module and function, and loaded in a worker thread.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from chatd.domain.failure import FailureKind
from chatd.llm.vendors.history_rules import (
    CHAT_COMPLETIONS,
    MESSAGES,
    RESPONSES,
    HistoryRules,
)

_STAINLESS_ERRORS: Mapping[str, FailureKind] = {
    "APITimeoutError": FailureKind.TIMEOUT,
    "APIConnectionError": FailureKind.NETWORK,
    "APIError": FailureKind.PROVIDER_ERROR,
}
"""Exceptions of both SDKs, which the same generator (Stainless) writes."""

_OPENAI_ERRORS = {**_STAINLESS_ERRORS, "OpenAIError": FailureKind.CONFIGURATION}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderKind:
    """One value of ``providers.NAME.kind``, with all that depends on it.

    ``description`` completes the reference of the setting. ``connector`` is ``module:function`` below
    this package, called with a ``ProviderEndpoint``; None is the scripted provider. ``api_key_variable``,
    ``default_model`` and ``model_pattern`` (what names of its models begin with) let ``chatd dev`` and
    ``chatd demo`` choose a model; a kind without a variable is never chosen. ``sdk_errors`` are the
    exceptions of the library ``sdk`` by class name. ``history`` says what its providers accept.
    """

    name: str
    description: str = ""
    connector: str | None
    history: HistoryRules = CHAT_COMPLETIONS
    needs_api_key: bool = False
    needs_base_url: bool = False
    api_key_variable: str | None = None
    default_model: str = ""
    model_pattern: str = ""
    sdk: str = ""
    sdk_errors: Mapping[str, FailureKind] = field(default_factory=dict)

    def violations(
        self,
        *,
        base_url: str | None,
        api_key: object,
        script: object,
        scripts: Mapping[str, object],
    ) -> Iterator[tuple[str, str]]:
        """Yield each rule of this kind that a provider breaks, as the key and the reason."""
        if self.needs_base_url and not base_url:
            yield "base_url", f'is required when kind is "{self.name}"'
        if self.needs_api_key and not api_key:
            yield "api_key", f'is required when kind is "{self.name}"'
        if self.connector is not None:
            for key, present in (("script", script is not None), ("scripts", bool(scripts))):
                if present:
                    yield key, f'is for kind "{SCRIPTED}" only, not "{self.name}"'


SCRIPTED = "scripted"

_ROWS: Sequence[ProviderKind] = (
    ProviderKind(
        name="openai",
        connector="openai:connect_openai",
        history=RESPONSES,
        needs_api_key=True,
        api_key_variable="OPENAI_API_KEY",
        default_model="gpt-5-mini",
        model_pattern=r"(chat)?gpt|o\d|codex",
        sdk="openai",
        sdk_errors=_OPENAI_ERRORS,
    ),
    ProviderKind(
        name="openai-compatible",
        description="also vLLM, Ollama, llama.cpp and gateways",
        connector="openai:connect_compatible",
        needs_base_url=True,
        sdk="openai",
        sdk_errors=_OPENAI_ERRORS,
    ),
    ProviderKind(
        name="anthropic",
        connector="anthropic:connect_anthropic",
        history=MESSAGES,
        needs_api_key=True,
        api_key_variable="ANTHROPIC_API_KEY",
        default_model="claude-haiku-4-5",
        model_pattern="claude",
        sdk="anthropic",
        sdk_errors={**_STAINLESS_ERRORS, "AnthropicError": FailureKind.CONFIGURATION},
    ),
    ProviderKind(name=SCRIPTED, description="plays a script; for tests and demos", connector=None),
)

PROVIDER_KINDS: Mapping[str, ProviderKind] = {kind.name: kind for kind in _ROWS}
"""All kinds by name."""
