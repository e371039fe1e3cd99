"""Sections of named tables: providers, and the models they serve."""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, PositiveInt, SecretStr, model_validator

from chatd.llm.vendors import PROVIDER_KINDS
from chatd.settings.types import NonEmptyText, Section, check_rules


def _check_kind(name: str) -> str:
    if name not in PROVIDER_KINDS:
        *names, last = map(repr, PROVIDER_KINDS)
        raise ValueError(f"must be {', '.join(names)} or {last}")
    return name


def _describe_kinds() -> str:
    *kinds, last = [
        f'"{kind.name}"' + (f" ({kind.description})" if kind.description else "")
        for kind in PROVIDER_KINDS.values()
    ]
    return f"API that it implements: {', '.join(kinds)}, or {last}."


class ProviderSettings(Section):
    """A provider's API, or a server that implements the same API."""

    kind: Annotated[str, AfterValidator(_check_kind)] = Field(description=_describe_kinds())
    base_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s]+$",
        description="Address of the API, if not the provider's own. Required for openai-compatible.",
    )
    api_key: SecretStr | None = Field(None, description="API key.")
    headers: dict[str, SecretStr] = Field(
        {},
        description="Additional HTTP headers. As a file: a JSON object.",
    )
    script: list[dict[str, Any]] | None = Field(
        None, description="Steps that a scripted provider plays. For no other kind."
    )
    scripts: dict[str, list[dict[str, Any]]] = Field(
        {},
        description="Scripts by name. A user's message that contains [[NAME]] selects one.",
    )

    @model_validator(mode="after")
    def _check_needs_of_kind(self) -> Self:
        violations = PROVIDER_KINDS[self.kind].violations(
            base_url=self.base_url,
            api_key=self.api_key,
            script=self.script,
            scripts=self.scripts,
        )
        check_rules(((key,), reason) for key, reason in violations)
        return self


class ModelSettings(Section):
    """A model that chats may ask for by this name."""

    provider: NonEmptyText = Field(description="Name of the provider that serves it.")
    model: NonEmptyText = Field(description="Name that the provider has for it.")
    context_limit: PositiveInt | None = Field(
        None, description="Size of its context in tokens, for clients to read."
    )
    max_output_tokens: PositiveInt | None = Field(
        None, description="Maximum tokens of one response. Not set: the provider decides."
    )
    settings: dict[str, Any] = Field(
        {}, description="Additional settings of each call, such as temperature."
    )
    default: bool = Field(
        False, description="Use it for chats that name no model. At most one model is the default."
    )


EXAMPLES: dict[str, dict[str, dict[str, Any]]] = {
    "providers": {
        "openai": {
            "kind": "openai",
            "base_url": "https://api.openai.com/v1",
            "api_key_file": "openai.key",
            "headers": {"OpenAI-Project": "proj_123"},
        },
        "demo": {
            "kind": "scripted",
            "script": [{"text": "Good evening."}],
            "scripts": {"short": [{"text": "Hm."}]},
        },
    },
    "models": {
        "fast": {
            "provider": "openai",
            "model": "gpt-5-mini",
            "context_limit": 400000,
            "max_output_tokens": 16000,
            "settings": {"temperature": 0.2},
            "default": True,
        }
    },
}
"""Named tables of ``config.example.toml``. Together they have every key."""
