"""The named sections of the tree: providers, and the models they serve."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, SecretStr, StringConstraints
from pydantic_core import PydanticCustomError

from chatd.llm.vendors import PROVIDER_KINDS
from chatd.settings.sections import STRICT

NonEmptyText = Annotated[str, StringConstraints(min_length=1)]


def _known_kind(name: str) -> str:
    """Return ``name`` if it is a kind of provider. Raise otherwise."""
    if name not in PROVIDER_KINDS:
        *names, last = map(repr, PROVIDER_KINDS)
        kinds = f"{', '.join(names)} or {last}"
        raise PydanticCustomError("enum", "Input should be {kinds}", {"kinds": kinds})
    return name


def _describe_kinds() -> str:
    kinds = [
        f'"{kind.name}"' + (f" ({kind.description})" if kind.description else "")
        for kind in PROVIDER_KINDS.values()
    ]
    return f"Which API it speaks: {', '.join(kinds[:-1])}, or {kinds[-1]}."


class ProviderSettings(BaseModel):
    """A vendor's API, or something that behaves like one."""

    model_config = STRICT

    kind: Annotated[str, AfterValidator(_known_kind)] = Field(description=_describe_kinds())
    base_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s]+$",
        description="Where its API is, if not at the vendor's; openai-compatible needs it.",
    )
    api_key: SecretStr | None = Field(default=None, description="The key it asks for. A secret.")
    headers: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="Further HTTP headers. Secrets; as a file, a JSON object.",
    )
    script: list[dict[str, Any]] | None = Field(
        default=None,
        description="What a scripted provider plays, step by step; no other kind takes it.",
    )
    scripts: dict[str, list[dict[str, Any]]] = Field(
        default_factory=dict,
        description="Scripts by name; a user's message that holds [[NAME]] has that one played.",
    )


class ModelSettings(BaseModel):
    """A model that chats may ask for by this name."""

    model_config = STRICT

    provider: NonEmptyText = Field(description="Which of the providers serves it.")
    model: NonEmptyText = Field(description="What the provider calls it.")
    context_limit: int | None = Field(
        default=None,
        gt=0,
        description="How many tokens its context holds, for callers to see.",
    )
    max_output_tokens: int | None = Field(
        default=None, gt=0, description="The longest answer. Not set: the provider decides."
    )
    settings: dict[str, Any] = Field(
        default_factory=dict, description="Further settings of each call, such as temperature."
    )
    default: bool = Field(
        default=False, description="Whether chats that name no model get this one; at most one is."
    )
