"""Summarizer: has a history summarized, by as many tries as one need may have."""

from dataclasses import dataclass, replace
from typing import Final

import structlog

from chatd.domain.chat import Usage
from chatd.domain.failure import Failure, FailureKind
from chatd.domain.message import NewMessage
from chatd.domain.outcomes import CallPurpose, CompactionOutcome
from chatd.llm.catalog import ModelConfig
from chatd.store.histories import ChatHistory
from chatd.telemetry.turn_metrics import TurnMetrics
from chatd.worker.compaction.need import MAX_TRIES, CompactionNeed
from chatd.worker.compaction.summary import (
    SummaryRequest,
    stored_summary,
    summary_message,
    view_after,
)
from chatd.worker.compaction.summary_call import SummaryCall
from chatd.worker.compaction.tries import history_tokens, request_length, summary_request
from chatd.worker.config import TurnConfig
from chatd.worker.lease import Lease
from chatd.worker.text_call import WrittenText
from chatd.worker.turn_stats import TurnStats

_log = structlog.get_logger()

_NO_USAGE: Final = Usage()


@dataclass(frozen=True, slots=True, kw_only=True)
class Summarized:
    """A summary that helps: its message, the last message that it covers, and what it took."""

    message: NewMessage
    covers_until: int
    after_tokens: int
    """Tokens of the history with it."""
    usage: Usage
    """Tokens of all tries."""


class Summarizer:
    """Tries of one need. A failure of the provider ends none: the same try is made again."""

    def __init__(
        self, *, config: TurnConfig, metrics: TurnMetrics, lease: Lease, stats: TurnStats
    ) -> None:
        self._config = config
        self._metrics = metrics
        self._lease = lease
        self._stats = stats
        self.number = 1
        """The number of the try."""
        self.calls = 0
        """Calls of the model that writes the summary."""
        self._usage = _NO_USAGE
        self._was_too_long = False
        """True if the provider said of a request for a summary that it is too long."""

    async def run(
        self, history: ChatHistory, model: ModelConfig, need: CompactionNeed
    ) -> Summarized | Failure | None:
        """Return a summary that helps, or a failure of the provider. None: no try is left."""
        name = model.compaction_model
        writer = model if name is None else self._config.catalog.by_name(name)
        while self.number <= MAX_TRIES:
            request = self._request(history, writer, need)
            if request is not None:
                outcome = await self._try(history, writer, need, request)
                if outcome is not None:
                    return outcome
            self.number += 1
        return None

    def _request(
        self, history: ChatHistory, writer: ModelConfig, need: CompactionNeed
    ) -> SummaryRequest | None:
        chat = self._lease.chat
        asked = chat.compaction_request
        return summary_request(
            self.number,
            history.messages,
            need,
            pruned_through=chat.pruned_through,
            writer_window=writer.window,
            instructions=(asked.instructions if asked else None) or "",
            was_too_long=self._was_too_long,
        )

    async def _try(
        self,
        history: ChatHistory,
        writer: ModelConfig,
        need: CompactionNeed,
        request: SummaryRequest,
    ) -> Summarized | Failure | None:
        """Ask for a summary. None: it does not help, or the request for it was too long itself."""
        written = await self._call(writer, request)
        if isinstance(written, Failure):
            if written.kind is not FailureKind.CONTEXT_LIMIT:
                return written
            self._was_too_long = True
            self._refuse(need, None)
            return None
        split, length = request.split, request_length(need.window)
        message = summary_message(written.text, split, request_length=length)
        view = view_after(split, stored_summary(message, split))
        pruned_through = self._lease.chat.pruned_through
        before = history_tokens(history.messages, pruned_through)
        after = history_tokens(view, pruned_through)
        if not need.is_met(before, after, shortest=self.number > 1):
            self._refuse(need, after)
            return None
        return Summarized(
            message=replace(message, model_config_id=writer.id),
            covers_until=split.covers_until,
            after_tokens=after,
            usage=self._usage,
        )

    def _refuse(self, need: CompactionNeed, after: int | None) -> None:
        self._metrics.compactions.add(CompactionOutcome.REFUSED)
        _log.warning(
            "chat.summary_refused",
            attempt=self.number,
            before_tokens=need.tokens,
            after_tokens=after,
        )

    async def _call(self, writer: ModelConfig, request: SummaryRequest) -> WrittenText | Failure:
        self.calls += 1
        self._metrics.provider_calls.add(writer.name, CallPurpose.SUMMARY)
        written = await SummaryCall(
            catalog=self._config.catalog,
            model=writer,
            lease=self._lease,
            timeout_seconds=self._config.limits.compaction_timeout_seconds,
            max_output_tokens=request.max_output_tokens,
        ).run(request.messages())
        if isinstance(written, Failure):
            self._metrics.provider_errors.add(writer.name, CallPurpose.SUMMARY, written.kind)
        else:
            self._usage += written.usage
            self._stats.add_usage(written.usage)
            self._metrics.add_tokens(writer.name, CallPurpose.SUMMARY, written.usage)
        return written
