"""What the scripted provider is told to do: a flat list of steps, as it stands in a TOML file.

::

    [[providers.fake.scripts.flaky]]        # played for a message that says [[flaky]]
    error = { status = 503, retry_after = 1 }
    attempts = [1, 2]

    [[providers.fake.scripts.flaky]]
    text = "Third time lucky: {message}"
    chunks = 5
    delay_seconds = 0.02

A step does one thing. ``attempts``, ``calls`` and ``turns`` say when it is played at all: at which
attempts of the same model call, at which model calls of the turn, at which turns of the chat, all
counted from 1. A script that plays to its end without ``finish`` ends well.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from chatd.llm.errors import ProviderConfigError


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ToolCall(_Strict):
    name: str
    args: dict[str, Any] | str = Field(default_factory=dict)
    id: str = "call_{call}_{index}"


class Error(_Strict):
    """An answer with an error status, or a transport that failed in one of several ways."""

    status: int | None = Field(default=None, ge=100, le=599)
    code: str | None = None
    message: str = "The script says so."
    retry_after: float | None = Field(default=None, ge=0)
    transport: Literal["reset", "refused", "timeout", "garbled"] | None = None

    @model_validator(mode="after")
    def _check_one_cause(self) -> Self:
        if (self.status is None) == (self.transport is None):
            raise ValueError("give either status or transport")
        return self


class Finish(_Strict):
    reason: str = "stop"
    input_tokens: int | None = Field(default=None, ge=0)
    output_tokens: int | None = Field(default=None, ge=0)


_ACTIONS = (
    "text",
    "reasoning",
    "tool_call",
    "wait_seconds",
    "error",
    "panic",
    "hang",
    "block_seconds",
    "cut",
    "finish",
)


class Step(_Strict):
    """One thing to do. Exactly one of the actions is set."""

    text: str | None = None
    """``{message}`` is the user's last message, ``{model}``, ``{attempt}``, ``{call}`` as named."""
    reasoning: str | None = None
    tool_call: ToolCall | None = None
    wait_seconds: float | None = Field(default=None, ge=0)
    error: Error | None = None
    panic: str | None = None
    """Raise what no provider should raise, with this text."""
    hang: Literal[True] | None = None
    """Say nothing until cancelled."""
    block_seconds: float | None = Field(default=None, ge=0)
    """Hold up the whole process for so long, as careless code would: to rehearse what watches it."""
    cut: Literal[True] | None = None
    """End without a reason."""
    finish: Finish | None = None

    chunks: int = Field(default=1, ge=1)
    """In how many pieces text, reasoning or arguments arrive."""
    delay_seconds: float = Field(default=0.0, ge=0)
    """The pause before each piece."""
    repeat: int = Field(default=1, ge=1)
    """How often the text is repeated."""

    attempts: frozenset[int] | None = None
    calls: frozenset[int] | None = None
    turns: frozenset[int] | None = None

    @model_validator(mode="after")
    def _check_one_action(self) -> Self:
        actions = [name for name in _ACTIONS if getattr(self, name) is not None]
        if len(actions) != 1:
            raise ValueError(f"give exactly one of {', '.join(_ACTIONS)}; got {actions or 'none'}")
        return self


Script = tuple[Step, ...]

DEFAULT_SCRIPT: Script = (
    Step(
        text="Hello! I am the scripted model: I need no key and know no more than this sentence. "
        "You said: {message}",
        chunks=24,
        delay_seconds=0.03,
    ),
)
"""What is played when nothing is configured: enough for a demo."""

_SCRIPT_ADAPTER: TypeAdapter[Script] = TypeAdapter(Script)


def parse_script(steps: Sequence[Mapping[str, Any]], *, key: str) -> Script:
    """Check a script; raise ``ProviderConfigError`` that names the key (``….flaky.0.read_chunks``)."""
    try:
        return _SCRIPT_ADAPTER.validate_python(steps)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join([key, *(str(step) for step in first["loc"])])
        raise ProviderConfigError(where, first["msg"].removeprefix("Value error, ")) from None
