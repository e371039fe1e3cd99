"""Record of one answer, filled while its stream is read."""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

from chatd.llm.errors import ProviderError
from chatd.llm.vendors.wire.endings import Ending, Verdict, ending_of
from chatd.llm.vendors.wire.uploads import Uploads
from chatd.llm.vendors.wire.usage import UsageTotals

_IMPLIED = Ending("stop", Verdict.WHOLE)
"""Ending of an answer that its terminator ends without a reason."""


@dataclass(slots=True, kw_only=True)
class AnswerRecord:
    """One answer so far.

    ``responded`` is set once the headers of a response have arrived, ``terminated`` once the terminator of
    the API has (``[DONE]``, ``message_stop``), and ``refused`` once the model has sent a refusal.
    ``on_bytes`` is called for all bytes that arrive. ``uploads`` are the files of the request.
    """

    on_bytes: Callable[[], None]
    uploads: Uploads
    responded: bool = False
    terminated: bool = False
    refused: bool = False
    usage: UsageTotals = field(default_factory=UsageTotals)
    _ending: Ending | None = None

    def end(self, word: object) -> None:
        """Record a finish reason. The last one counts: some servers send one with every chunk."""
        self._ending = ending_of(word) or self._ending

    @property
    def ended(self) -> bool:
        """True once the answer is complete, whatever happens to its stream."""
        return self.terminated or self._ending is not None

    def ending(self) -> Ending | None:
        """Return how the answer ended. None: it was cut off. Raise if the provider says that it failed."""
        ending = self._ending or (_IMPLIED if self.terminated else None)
        if ending is None:
            return None
        if ending.verdict is Verdict.FAILED:
            raise ProviderError("The model ended its response with an error.")
        return Ending("refusal", Verdict.REFUSED) if self.refused else ending


current_answer: ContextVar[AnswerRecord] = ContextVar("current_answer")
"""The record of the call that is being opened."""
