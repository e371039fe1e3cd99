"""Sections of named tables: providers, and the models they serve."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, PositiveInt, model_validator

from chatd.llm.native_tools import NativeToolKind
from chatd.llm.vendors import PROVIDER_KINDS
from chatd.settings.http_types import BaseUrl, Headers, HeaderValue
from chatd.settings.json_types import JsonTable, MaybeJson
from chatd.settings.types import STRICT, NonEmptyText, Section, check_rules

_MAX_DOMAINS = 100
"""Domains of one list, more than any provider takes."""


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
    base_url: BaseUrl | None = None
    """Address of the API, if not the provider's own. Required for openai-compatible and azure."""
    api_key: HeaderValue | None = None
    """API key."""
    headers: Headers = Field({})
    """Additional HTTP headers. As a file: a JSON object."""
    script: MaybeJson[list[dict[str, Any]] | None] = None
    """Steps that a scripted provider plays. For no other kind."""
    scripts: MaybeJson[dict[str, list[dict[str, Any]]]] = Field({})
    """Scripts by name. A user's message that contains [[NAME]] selects one."""

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


class NativeToolSettings(BaseModel):
    """A tool that the provider runs itself, with its options. Not all providers have all of them."""

    model_config = STRICT

    kind: NativeToolKind
    max_uses: PositiveInt | None = None
    allowed_domains: list[NonEmptyText] | None = Field(None, max_length=_MAX_DOMAINS)
    blocked_domains: list[NonEmptyText] | None = Field(None, max_length=_MAX_DOMAINS)
    search_context_size: Literal["low", "medium", "high"] | None = None
    user_location: dict[Literal["city", "country", "region", "timezone"], NonEmptyText] | None = (
        None
    )

    @model_validator(mode="before")
    @classmethod
    def _take_name(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value


def _check_kinds(tools: list[NativeToolSettings]) -> list[NativeToolSettings]:
    if len({tool.kind for tool in tools}) < len(tools):
        raise ValueError("must not have a tool twice")
    return tools


NativeTools = Annotated[MaybeJson[list[NativeToolSettings]], AfterValidator(_check_kinds)]


class ModelSettings(Section):
    """A model that chats may ask for by this name."""

    provider: NonEmptyText
    """Name of the provider that serves it."""
    model: NonEmptyText
    """Name that the provider has for it."""
    context_limit: PositiveInt | None = None
    """Size of its context in tokens, request and answer together. Not set: as the package genai-prices
    has it, if it knows the model."""
    max_output_tokens: PositiveInt | None = None
    """Maximum tokens of one response. Not set: the provider decides."""
    compaction_percent: int = Field(80, ge=0, le=100)
    """Chats are compacted once their next request takes this share of its context, without the space for
    the answer. 0: never by themselves."""
    compaction_model: NonEmptyText | None = None
    """Name of the model that writes the summaries of its chats. Not set: itself."""
    settings: JsonTable = Field({})
    """Additional settings of each call, such as temperature."""
    native_tools: NativeTools = Field([])
    """Tools that the provider itself runs while this model answers: web_search and code_execution (kinds
    openai and anthropic), web_fetch (anthropic). Each is a name, or a table of its kind and its options:
    max_uses, allowed_domains, blocked_domains, search_context_size, user_location."""
    title_model: NonEmptyText | None = None
    """Name of the model that writes titles of this one's chats, after their first turn. Not set: chats have
    their first words as titles, or those that their callers give them."""
    default: bool = False
    """Use it for chats that name no model. At most one model is the default."""
