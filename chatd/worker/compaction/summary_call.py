"""Call of the model that writes a summary. Nothing of it is streamed, and no tool is offered."""

from dataclasses import dataclass, field

from chatd.domain.chat import Usage
from chatd.domain.failure import Failure, FailureKind
from chatd.domain.message import Message, Part, fold, text_of
from chatd.domain.outcomes import CallPurpose
from chatd.domain.sanitize import replace_unstorable
from chatd.llm.catalog import Catalog, ModelConfig
from chatd.llm.effort import lowest_effort
from chatd.llm.failures.classify import classify
from chatd.llm.provider import Finished, ModelRequest
from chatd.supervision.progress import StageTimeout
from chatd.telemetry import tracing
from chatd.worker.lease import Lease

STAGE = "compaction"
"""Stage of a turn that waits for a summary."""


@dataclass(frozen=True, slots=True)
class WrittenSummary:
    """The text of a summary, and what it cost."""

    text: str
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryCall:
    """One call of ``model``, which may last ``timeout_seconds``."""

    catalog: Catalog
    model: ModelConfig
    lease: Lease
    timeout_seconds: float
    max_output_tokens: int
    _deltas: list[Part] = field(default_factory=list)

    async def run(self, messages: tuple[Message, ...]) -> WrittenSummary | Failure:
        """Call the model once. An exception that is no failure of the provider is a bug, and is raised."""
        request = ModelRequest(
            model=self.model.model,
            messages=messages,
            max_output_tokens=self.max_output_tokens,
            settings=lowest_effort(self.model.settings),
            purpose=CallPurpose.SUMMARY,
        )
        provider = self.catalog.provider_of(self.model)
        with tracing.model_call_span(
            chat=self.lease.chat,
            provider=provider.name,
            model=request.model,
            max_tokens=request.max_output_tokens,
        ) as span:
            try:
                finished = await self._stream(request)
            except StageTimeout as timeout:
                outcome: WrittenSummary | Failure = self._failure(FailureKind.TIMEOUT, str(timeout))
            except Exception as error:
                failure = classify(error, provider=provider.name, model=self.model.name)
                if failure is None:
                    raise
                outcome = failure
            else:
                outcome = self._written(finished)
            if isinstance(outcome, Failure):
                tracing.set_error(span, outcome.kind.value)
            elif finished is not None:
                tracing.record_response(span, reason=finished.reason, usage=finished.usage)
        return outcome

    async def _stream(self, request: ModelRequest) -> Finished | None:
        provider, progress = self.catalog.provider_of(self.model), self.lease.progress
        await provider.warm()
        await self.lease.wait_until_held()
        finished = None
        with progress.stage(STAGE, self.timeout_seconds):
            self.lease.ensure_valid()
            async with provider.stream(request) as deltas:
                async for delta in deltas:
                    progress.mark("summarizing")
                    if isinstance(delta, Finished):
                        finished = delta
                    elif delta.part["type"] == "text":
                        self._deltas.append(delta.part)
        return finished

    def _written(self, finished: Finished | None) -> WrittenSummary | Failure:
        if finished is None:
            return self._failure(FailureKind.TRUNCATED, "the summary was cut off before its end")
        text = replace_unstorable(text_of(fold(self._deltas))).strip()
        if not text:
            return self._failure(FailureKind.PROVIDER_ERROR, "the model wrote no summary")
        return WrittenSummary(text, finished.usage)

    def _failure(self, kind: FailureKind, message: str) -> Failure:
        provider = self.catalog.provider_of(self.model).name
        return Failure(
            kind=kind,
            message=f"{self.model.name} ({provider}): {message}",
            provider=provider,
            model=self.model.name,
        )
