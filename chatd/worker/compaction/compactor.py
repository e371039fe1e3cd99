"""Compactor of one turn: decides when a chat is compacted and in which stage, and has it stored."""

from typing import Final

import structlog

from chatd.domain.failure import Failure, FailureKind, unknown_model_failure
from chatd.domain.outcomes import CompactionOutcome
from chatd.llm.catalog import ModelConfig
from chatd.llm.context_window import NEVER, ContextWindow
from chatd.store.compact import Compact
from chatd.store.histories import ChatHistory
from chatd.telemetry import tracing
from chatd.worker.clock import loop_time
from chatd.worker.compaction.need import CompactionNeed, CompactionReason, context_overflow
from chatd.worker.compaction.pruning import freed_tokens, prune_boundary
from chatd.worker.compaction.summarizer import Summarized, Summarizer
from chatd.worker.compaction.tries import history_tokens
from chatd.worker.config import TurnConfig
from chatd.worker.lease import Lease
from chatd.worker.turn_services import TurnServices
from chatd.worker.turn_stats import TurnStats
from chatd.worker.turn_tools import model_of
from chatd.worker.writer import Writer

_log = structlog.get_logger()

_HOPELESS: Final = 2
"""An estimate of so many windows is too much, whatever its error."""
_NEXT_PERCENT: Final = 110
"""Growth in percent until a request is looked at again that cannot become smaller."""
_CALLS_BETWEEN: Final = 2
"""Model calls after a compaction before the next one, unless the request does not fit into the window."""


class Compactor:
    """Compactions of one turn.

    ``is_due`` is asked before each step. For a chat that is far under its window it compares two numbers.
    """

    def __init__(
        self,
        *,
        config: TurnConfig,
        services: TurnServices,
        lease: Lease,
        writer: Writer,
        stats: TurnStats,
    ) -> None:
        self._config = config
        self._metrics = services.metrics.turns
        self._lease = lease
        self._writer = writer
        self._stats = stats
        self._model = model_of(config, lease)
        self._threshold = self._trigger
        """A request of so many tokens is compacted."""
        self._calls_left = 0
        """Model calls until the threshold is the usual one again."""
        self._refusal: Failure | None = None
        """The failure by which the provider said that the request is too long, until it is compacted."""
        self._refused_step = -1
        """The step whose request was compacted because the provider refused it."""
        self._summarizer: Summarizer | None = None
        """The tries of the need that is not met yet."""
        self._settled_part = 0

    def is_due(self, history: ChatHistory) -> bool:
        """Return whether the next request is so large that it is to be compacted."""
        if history.request_size.tokens(self._lease.chat.last_model_config_id) < self._threshold:
            return False
        return self._tokens(history) >= self._threshold

    @property
    def is_requested(self) -> bool:
        """True if a caller asked for a compaction that is still to be done."""
        request = self._lease.chat.compaction_request
        return request is not None and not request.is_done

    def ends_turn(self, history: ChatHistory) -> bool:
        """Return whether the turn is for the requested compaction only, and answers no message.

        An interrupt may have left a message without an answer before the request: it stays so.
        """
        request = self._lease.chat.compaction_request
        if request is None or request.idle_version is None:
            return False
        return all(
            one.version < request.idle_version
            for one in history.messages
            if one.covers_until is None
        )

    def count_call(self) -> None:
        """Note that the model is called."""
        if self._calls_left:
            self._calls_left -= 1
            if not self._calls_left:
                self._threshold = self._trigger

    def accepts(self, failure: Failure) -> bool:
        """Return whether a compaction is the answer to a failure of the model call: once per step."""
        if (
            failure.kind is not FailureKind.CONTEXT_LIMIT
            or self._model is None
            or not self._model.compaction_percent
            or self._refused_step == self._lease.chat.committed_steps
        ):
            return False
        self._refusal, self._threshold = failure, 0
        return True

    async def run(self, history: ChatHistory, *, settled_part: int) -> Failure | None:
        """Compact the chat. Return the failure that ends the turn, or after which it is tried again.

        ``settled_part`` is the number of the last part that was streamed. None of them becomes a message.
        """
        self._settled_part = settled_part
        if self._model is None:
            return unknown_model_failure()
        need = self._need(history, self._model)
        started_at = loop_time()
        with tracing.compaction_span(self._lease.chat, reason=need.reason) as span:
            try:
                failure = await self._compact(history, self._model, need)
            finally:
                self._stats.add_time("compaction", loop_time() - started_at)
            if failure is not None:
                tracing.set_error(span, failure.kind.value)
        return failure

    async def _compact(
        self, history: ChatHistory, model: ModelConfig, need: CompactionNeed
    ) -> Failure | None:
        if need.reason is not CompactionReason.REQUEST and await self._prune(history, need):
            return None
        summarizer = self._summarizer = self._summarizer or Summarizer(
            config=self._config, metrics=self._metrics, lease=self._lease, stats=self._stats
        )
        outcome = await summarizer.run(history, model, need)
        if isinstance(outcome, Failure):
            return outcome
        if outcome is None:
            return await self._give_up(history, model, need, calls=summarizer.calls)
        await self._store(
            need,
            CompactionOutcome.SUMMARIZED,
            after_tokens=outcome.after_tokens,
            summarized=outcome,
        )
        return None

    async def _prune(self, history: ChatHistory, need: CompactionNeed) -> bool:
        """Have old results shown as one line each. Return False if that frees too little."""
        pruned_through = self._lease.chat.pruned_through
        boundary = prune_boundary(
            history.messages,
            pruned_through=pruned_through,
            usable=need.window.usable,
            excess=need.excess,
        )
        if boundary is None:
            return False
        after = need.tokens - freed_tokens(history.messages, pruned_through, boundary)
        await self._store(need, CompactionOutcome.PRUNED, after_tokens=after, boundary=boundary)
        return True

    async def _store(
        self,
        need: CompactionNeed,
        outcome: CompactionOutcome,
        *,
        after_tokens: int,
        summarized: Summarized | None = None,
        boundary: int | None = None,
    ) -> None:
        chat = self._lease.chat
        await self._writer.apply(
            Compact(
                step=chat.committed_steps,
                covers_until=summarized.covers_until if summarized else None,
                summary=summarized.message if summarized else None,
                before_tokens=need.tokens,
                after_tokens=after_tokens,
                usage=summarized.usage if summarized else None,
                pruned_through=boundary,
                settled_part=self._settled_part,
            )
        )
        self._metrics.compactions.add(outcome)
        _log.info(
            "chat.compacted",
            outcome=outcome.value,
            reason=need.reason.value,
            attempt=self._summarizer.number if self._summarizer else 0,
            before_tokens=need.tokens,
            after_tokens=after_tokens,
        )
        if self._refusal is not None and summarized is not None:
            self._refused_step = self._lease.chat.committed_steps
        self._refusal = self._summarizer = None
        self._threshold, self._calls_left = self._usable, _CALLS_BETWEEN

    async def _give_up(
        self, history: ChatHistory, model: ModelConfig, need: CompactionNeed, *, calls: int
    ) -> Failure | None:
        """Go on without a compaction, or return the failure of the turn."""
        if need.reason is CompactionReason.REQUEST:
            await self._store(need, CompactionOutcome.NOTHING, after_tokens=need.tokens)
            return None
        limit, self._summarizer = model.context_limit, None
        if (
            need.reason is CompactionReason.SIZE
            and not calls
            and need.tokens < _HOPELESS * (limit or 0)
        ):
            # Nothing can be covered. It is an estimate, so the provider says whether it is too long.
            self._threshold = need.tokens * _NEXT_PERCENT // 100 + 1
            return None
        self._metrics.compactions.add(CompactionOutcome.FAILED)
        if limit is None and self._refusal is not None:
            return self._refusal
        return context_overflow(history.messages, need, model=model.name, limit=limit, calls=calls)

    def _need(self, history: ChatHistory, model: ModelConfig) -> CompactionNeed:
        tokens, window = self._tokens(history), model.window
        if self._refusal is not None:
            # What the provider counted last may be of a shorter history than the one it refuses.
            tokens = max(tokens, history_tokens(history.messages, self._lease.chat.pruned_through))
            return CompactionNeed.refused(tokens, window, percent=model.compaction_percent)
        if window is not None and tokens >= self._threshold:
            return CompactionNeed(CompactionReason.SIZE, tokens, window)
        window = window or ContextWindow.of(max(tokens, 1), max_output_tokens=None, percent=0)
        return CompactionNeed(CompactionReason.REQUEST, tokens, window)

    def _tokens(self, history: ChatHistory) -> int:
        """Return the tokens of the next request, also if the last one still had results that are pruned."""
        chat = self._lease.chat
        tokens = history.request_size.tokens(chat.last_model_config_id)
        if chat.pruned_through is None:
            return tokens
        return min(tokens, history_tokens(history.messages, chat.pruned_through))

    @property
    def _trigger(self) -> int:
        window = self._model.window if self._model else None
        return NEVER if window is None else window.trigger

    @property
    def _usable(self) -> int:
        window = self._model.window if self._model else None
        return NEVER if window is None or window.trigger == NEVER else window.usable
