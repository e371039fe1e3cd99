"""Call of a model for a title or a summary. Nothing of it is streamed, and no tool is offered."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from chatd.domain.chat import Chat, Usage
from chatd.domain.failure import Failure, FailureKind
from chatd.domain.message import Message
from chatd.domain.outcomes import CallPurpose
from chatd.llm.catalog import Catalog, ModelConfig
from chatd.llm.effort import lowest_effort
from chatd.llm.failures.classify import classify
from chatd.llm.provider import Finished, ModelRequest, Provider
from chatd.telemetry import tracing


@dataclass(frozen=True, slots=True)
class WrittenText:
    """The text that a model wrote. ``finished`` is None if the rest of it was not wanted."""

    text: str
    finished: Finished | None

    @property
    def usage(self) -> Usage:
        """Its tokens, as far as they are known."""
        return Usage() if self.finished is None else self.finished.usage


@dataclass(frozen=True, slots=True, kw_only=True)
class TextCall:
    """One call of ``model`` about ``chat``."""

    catalog: Catalog
    model: ModelConfig
    chat: Chat
    purpose: CallPurpose
    max_output_tokens: int

    async def run(
        self,
        messages: tuple[Message, ...],
        read: Callable[[Provider, ModelRequest], Awaitable[WrittenText | Failure]],
    ) -> WrittenText | Failure:
        """Call the model once. ``read`` reads its stream.

        An exception that is no failure of the provider is a bug, and is raised.
        """
        provider = self.catalog.provider_of(self.model)
        request = ModelRequest(
            model=self.model.model,
            messages=messages,
            max_output_tokens=self.max_output_tokens,
            settings=lowest_effort(self.model.settings),
            purpose=self.purpose,
        )
        with tracing.model_call_span(
            chat=self.chat,
            provider=provider.name,
            model=request.model,
            max_tokens=request.max_output_tokens,
        ) as span:
            try:
                outcome = await read(provider, request)
            except Exception as error:
                failure = classify(error, provider=provider.name, model=self.model.name)
                if failure is None:
                    raise
                outcome = failure
            if isinstance(outcome, Failure):
                tracing.set_error(span, outcome.kind.value)
            elif (finished := outcome.finished) is not None:
                tracing.record_response(span, reason=finished.reason, usage=finished.usage)
        return outcome

    def failure(self, kind: FailureKind, message: str) -> Failure:
        """Return a failure of this call."""
        provider = self.catalog.provider_of(self.model).name
        return Failure(
            kind=kind,
            message=f"{self.model.name} ({provider}): {message}",
            provider=provider,
            model=self.model.name,
        )
