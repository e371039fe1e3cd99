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
from typing import Any

from chatd.domain.failure import FailureKind
from chatd.llm.native_tools import NativeTool
from chatd.llm.vendors.history_rules import (
    CHAT_COMPLETIONS,
    CHAT_COMPLETIONS_WITHOUT_REASONING,
    DEEPSEEK,
    MESSAGES,
    MISTRAL,
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


_DOMAINS = frozenset({"allowed_domains", "blocked_domains"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderKind:
    """One value of ``providers.NAME.kind``, with all that depends on it.

    ``description`` completes the reference of the setting. ``connector`` is ``module:function`` below
    this package, called with a ``ProviderEndpoint``; None is the scripted provider. ``api_key_variable``,
    ``default_model`` and ``model_pattern`` (what names of its models begin with) let ``chatd dev`` and
    ``chatd demo`` choose a model; a kind without a variable is never chosen. ``sdk_errors`` are the
    exceptions of the library ``sdk`` by class name. ``history`` says what its providers accept, and
    ``native_tools`` which native tools they run, each with its options.
    """

    name: str
    description: str = ""
    connector: str | None
    history: HistoryRules = CHAT_COMPLETIONS
    native_tools: Mapping[str, frozenset[str]] = field(default_factory=dict)
    needs_api_key: bool = False
    needs_base_url: bool = False
    api_key_variable: str | None = None
    default_model: str = ""
    model_pattern: str = ""
    base_url: str | None = None
    takes_max_completion_tokens: bool = False
    tried_against: str = "bytes of public reports"
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

    def native_tool_problem(self, tool: NativeTool) -> str | None:
        """Return why providers of this kind cannot be asked for a native tool. None: they can."""
        options = self.native_tools.get(tool.kind)
        if options is None:
            known = ", ".join(self.native_tools) or "none"
            return f'a provider of kind "{self.name}" has no tool {tool.kind!r} of its own; it has: {known}'
        for option in sorted(tool.options.keys() - options):
            return f'{tool.kind} of kind "{self.name}" has no option {option!r}'
        return None


SCRIPTED = "scripted"


def _chat_completions_kind(name: str, **more: Any) -> ProviderKind:
    """Return a kind whose API is OpenAI's Chat Completions."""
    connector = "openai:connect_compatible"
    return ProviderKind(
        name=name, connector=connector, sdk="openai", sdk_errors=_OPENAI_ERRORS, **more
    )


_ROWS: Sequence[ProviderKind] = (
    ProviderKind(
        name="openai",
        connector="openai:connect_openai",
        history=RESPONSES,
        native_tools={
            "web_search": _DOMAINS | {"search_context_size", "user_location"},
            "code_execution": frozenset(),
        },
        needs_api_key=True,
        api_key_variable="OPENAI_API_KEY",
        default_model="gpt-5-mini",
        model_pattern=r"(chat)?gpt|o\d|codex",
        tried_against="llmock and aimock, stand-ins",
        sdk="openai",
        sdk_errors=_OPENAI_ERRORS,
    ),
    _chat_completions_kind(
        "openai-compatible",
        description="any other server of Chat Completions, such as llama.cpp and gateways",
        needs_base_url=True,
        tried_against="llama.cpp's server, embedded; llmock and aimock, stand-ins",
    ),
    _chat_completions_kind(
        "azure",
        description="its v1 API, https://RESOURCE.openai.azure.com/openai/v1",
        needs_api_key=True,
        needs_base_url=True,
        api_key_variable="AZURE_OPENAI_API_KEY",
        takes_max_completion_tokens=True,
        history=CHAT_COMPLETIONS_WITHOUT_REASONING,
        tried_against="aimock, a stand-in",
    ),
    _chat_completions_kind(
        "openrouter",
        needs_api_key=True,
        tried_against="aimock, a stand-in",
        api_key_variable="OPENROUTER_API_KEY",
        base_url="https://openrouter.ai/api/v1",
    ),
    _chat_completions_kind("ollama", base_url="http://localhost:11434/v1"),
    _chat_completions_kind("vllm", base_url="http://localhost:8000/v1"),
    _chat_completions_kind(
        "deepseek",
        needs_api_key=True,
        api_key_variable="DEEPSEEK_API_KEY",
        base_url="https://api.deepseek.com",
        history=DEEPSEEK,
    ),
    _chat_completions_kind(
        "groq",
        needs_api_key=True,
        api_key_variable="GROQ_API_KEY",
        base_url="https://api.groq.com/openai/v1",
        history=CHAT_COMPLETIONS_WITHOUT_REASONING,
        tried_against="llmock, a stand-in",
    ),
    _chat_completions_kind(
        "mistral",
        needs_api_key=True,
        tried_against="llmock, a stand-in",
        api_key_variable="MISTRAL_API_KEY",
        base_url="https://api.mistral.ai/v1",
        history=MISTRAL,
    ),
    _chat_completions_kind(
        "gemini",
        description="its OpenAI-compatible endpoint",
        needs_api_key=True,
        api_key_variable="GEMINI_API_KEY",
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
    ),
    ProviderKind(
        name="anthropic",
        connector="anthropic:connect_anthropic",
        history=MESSAGES,
        native_tools={
            "web_search": _DOMAINS | {"max_uses", "user_location"},
            "web_fetch": _DOMAINS | {"max_uses"},
            "code_execution": frozenset(),
        },
        needs_api_key=True,
        api_key_variable="ANTHROPIC_API_KEY",
        default_model="claude-haiku-4-5",
        model_pattern="claude",
        tried_against="llmock and aimock, stand-ins",
        sdk="anthropic",
        sdk_errors={**_STAINLESS_ERRORS, "AnthropicError": FailureKind.CONFIGURATION},
    ),
    ProviderKind(
        name=SCRIPTED,
        description="plays a script; for tests and demos",
        connector=None,
        tried_against="itself",
    ),
)

PROVIDER_KINDS: Mapping[str, ProviderKind] = {kind.name: kind for kind in _ROWS}
"""All kinds by name."""
