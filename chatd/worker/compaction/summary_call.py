"""Call of the model that writes a summary."""

from dataclasses import dataclass

from chatd.domain.failure import Failure, FailureKind
from chatd.domain.message import Message, Part, fold, text_of
from chatd.domain.outcomes import CallPurpose
from chatd.domain.sanitize import replace_unstorable
from chatd.llm.catalog import Catalog, ModelConfig
from chatd.llm.provider import Finished, ModelRequest, Provider
from chatd.supervision.progress import StageTimeout
from chatd.worker.lease import Lease
from chatd.worker.text_call import TextCall, WrittenText

STAGE = "compaction"
"""Stage of a turn that waits for a summary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryCall:
    """One call of ``model``, which may last ``timeout_seconds``."""

    catalog: Catalog
    model: ModelConfig
    lease: Lease
    timeout_seconds: float
    max_output_tokens: int

    async def run(self, messages: tuple[Message, ...]) -> WrittenText | Failure:
        """Call the model once. An exception that is no failure of the provider is a bug, and is raised."""
        return await self._call.run(messages, self._read)

    @property
    def _call(self) -> TextCall:
        return TextCall(
            catalog=self.catalog,
            model=self.model,
            chat=self.lease.chat,
            purpose=CallPurpose.SUMMARY,
            max_output_tokens=self.max_output_tokens,
        )

    async def _read(self, provider: Provider, request: ModelRequest) -> WrittenText | Failure:
        progress = self.lease.progress
        await provider.warm()
        await self.lease.wait_until_held()
        deltas: list[Part] = []
        finished = None
        try:
            with progress.stage(STAGE, self.timeout_seconds):
                self.lease.ensure_valid()
                async with provider.stream(request) as stream:
                    async for delta in stream:
                        progress.mark("summarizing")
                        if isinstance(delta, Finished):
                            finished = delta
                        elif delta.part["type"] == "text":
                            deltas.append(delta.part)
        except StageTimeout as timeout:
            return self._call.failure(FailureKind.TIMEOUT, str(timeout))
        return self._written(deltas, finished)

    def _written(self, deltas: list[Part], finished: Finished | None) -> WrittenText | Failure:
        if finished is None:
            message = "the summary was cut off before its end"
            return self._call.failure(FailureKind.TRUNCATED, message)
        text = replace_unstorable(text_of(fold(deltas))).strip()
        if not text:
            return self._call.failure(FailureKind.PROVIDER_ERROR, "the model wrote no summary")
        return WrittenText(text, finished)
