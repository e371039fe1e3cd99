"""Script: a flat list of steps, as it stands in a TOML file.

::

    [[providers.fake.scripts.flaky]]        # played for a message that contains [[flaky]]
    error = { status = 503, retry_after = 1 }
    attempts = [1, 2]

    [[providers.fake.scripts.flaky]]
    text = "Third time lucky: {message}"
    chunks = 5
    delay_seconds = 0.02

    [[providers.fake.script]]               # a model with a small window
    error = { status = 400, code = "context_length_exceeded" }
    above_tokens = 4000

A step does one thing. ``attempts``, ``calls`` and ``turns`` limit when it is played: at which attempts of
the same model call, at which model calls of the turn, at which turns of the chat, all counted from 1.
``above_tokens`` limits it to requests that have more tokens, about. A
script without ``finish`` ends with the reason ``stop``, or ``tool_call`` after a tool call.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from chatd.llm.errors import ProviderConfigError


class _Strict(BaseModel):
    """Model that rejects unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ToolCall(_Strict):
    """A tool call of the model."""

    name: str
    args: dict[str, Any] | str = Field(default_factory=dict)
    id: str = "call_{call}_{index}"


class Error(_Strict):
    """An error response with a status, or a failure of the connection."""

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
    """The end of a response."""

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
    """One step of a script. Exactly one of the actions is set."""

    text: str | None = None
    """Text of the response. Placeholders: ``{message}`` (the user's last one), ``{model}``, ``{attempt}``,
    ``{call}``, ``{turn}``, ``{index}``, ``{result}`` (of the tools that were called last),
    ``{result:ID}`` (of the call with this id) and ``{result:ID:KEY}`` (an item of it, if it is JSON;
    KEY may be several with dots between them). Arguments of tool calls may have them, too."""
    reasoning: str | None = None
    tool_call: ToolCall | None = None
    wait_seconds: float | None = Field(default=None, ge=0)
    error: Error | None = None
    panic: str | None = None
    """Raise an exception that no provider should raise, with this text."""
    hang: Literal[True] | None = None
    """Send nothing until cancelled."""
    block_seconds: float | None = Field(default=None, ge=0)
    """Block the event loop for so long, as a bug would, to test what watches it."""
    cut: Literal[True] | None = None
    """End without a finish reason."""
    finish: Finish | None = None

    chunks: int = Field(default=1, ge=1)
    """Number of deltas in which text, reasoning or arguments arrive."""
    delay_seconds: float = Field(default=0.0, ge=0)
    """Pause before each delta."""
    repeat: int = Field(default=1, ge=1)
    """Number of times that the text is repeated."""

    attempts: frozenset[int] | None = None
    calls: frozenset[int] | None = None
    turns: frozenset[int] | None = None
    above_tokens: int | None = Field(default=None, ge=0)

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
"""Script that is played if none is configured. It is enough for a demo."""

SUMMARY_SCRIPT: Script = (
    Step(
        text="## State now\nThe scripted model has read the chat so far, and remembers nothing of it."
    ),
)
"""Script that is played for a summary, unless there is one of the name ``summary``."""

_SCRIPT_ADAPTER: TypeAdapter[Script] = TypeAdapter(Script)


def parse_script(steps: Sequence[Mapping[str, Any]], *, key: str) -> Script:
    """Validate a script. Raise ``ProviderConfigError``, which names the key (``….flaky.0.chunks``)."""
    try:
        return _SCRIPT_ADAPTER.validate_python(steps)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = ".".join([key, *(str(step) for step in first["loc"])])
        if not path.isprintable():  # a line end or an escape sequence in a key of the script
            path = ascii(path)[1:-1]
        raise ProviderConfigError(path, first["msg"].removeprefix("Value error, ")) from None
