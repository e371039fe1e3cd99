"""Containment: the data of one chat never end the work of an actor on all others.

Actors that serve all chats read and write in batches. When a batch fails for what its rows hold, it is
repeated in halves, until the chat is found that makes it fail. That chat is *cut*: the actor goes on
without it, a metric counts it, and a log event names it. It is tried again after a while, since an operator
may have mended it, or the next version may understand it.

A statement that runs out of time or memory may do so for one large chat, or because the server is slow.
It is halved too. If all parts of it fail, the server is slow, and nothing is cut.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Final, Generic, TypeVar
from uuid import UUID

import anyio
import structlog

from chatd.store.database_errors import is_caused_by_data, may_be_caused_by_size
from chatd.telemetry.metrics import ContainmentMetrics

T = TypeVar("T")
R = TypeVar("R")

KeyT = TypeVar("KeyT", bound=UUID | str)
"""The id of a chat, or the owner of a list."""

_log = structlog.get_logger()

FIRST_CUT_SECONDS: Final = 60.0
_LONGEST_CUT_SECONDS: Final = 3600.0
"""A chat is cut for a minute, and for twice as long each time that it fails again, up to an hour."""
_FORGIVEN_AFTER_SECONDS: Final = 60.0
"""Time after the end of a cut after which the next one counts as the first."""
_MAX_CUTS: Final = 1000
"""Cuts that an actor remembers. Beyond that it forgets the oldest one, and finds it again."""
_MAX_SLOW_STATEMENTS: Final = 16
"""Statements of one batch that may run out of time, before the server counts as slow."""


def _ignore(_: object) -> None:
    pass


@dataclass(frozen=True, slots=True)
class _Cut:
    """One chat that is left out until ``until``. ``count`` is how often in a row it failed."""

    until: float
    seconds: float
    count: int


class Containment(Generic[KeyT]):
    """The chats (or lists) that one actor has cut, and how it works on batches of the others."""

    def __init__(
        self,
        actor: str,
        metrics: ContainmentMetrics | None = None,
        *,
        on_cut: Callable[[KeyT], None] = _ignore,
    ) -> None:
        self._actor = actor
        self._metrics = metrics or ContainmentMetrics()
        self._cuts: dict[KeyT, _Cut] = {}
        self.on_cut = on_cut
        """Called with what was cut, so that what waits for it can end."""

    def is_cut(self, key: KeyT) -> bool:
        """Return whether the actor leaves this chat out now."""
        cut = self._cuts.get(key)
        return cut is not None and anyio.current_time() < cut.until

    def fails_again(self, key: KeyT) -> bool:
        """Return whether the chat is cut, and was before: it is not mended by trying once more."""
        return self.is_cut(key) and self._cuts[key].count > 1

    @property
    def cut_keys(self) -> list[KeyT]:
        """The keys that are left out now."""
        return [key for key in self._cuts if self.is_cut(key)]

    async def run(
        self,
        items: Sequence[T],
        statement: Callable[[Sequence[T]], Awaitable[R]],
        *,
        key: Callable[[T], KeyT],
    ) -> list[R]:
        """Run ``statement`` on all items, in one call as long as none of them makes it fail.

        Return the results of the calls that succeeded. Whatever is no fault of single items is raised.
        """
        results: list[R] = []
        culprits: list[tuple[KeyT, Exception]] = []
        slow_statements = 0
        pending = [items] if items else []
        while pending:
            batch = pending.pop()
            try:
                results.append(await statement(batch))
            except Exception as error:
                slow = may_be_caused_by_size(error)
                slow_statements += slow
                if not (slow or is_caused_by_data(error)) or slow_statements > _MAX_SLOW_STATEMENTS:
                    raise
                if len(batch) > 1:
                    half = len(batch) // 2
                    pending += [batch[half:], batch[:half]]
                    continue
                culprits.append((key(batch[0]), error))
        if culprits and not results and all(may_be_caused_by_size(cause) for _, cause in culprits):
            raise culprits[0][1]
        for culprit, cause in culprits:
            self.cut(culprit, cause)
        return results

    async def run_or_split(
        self,
        statement: Callable[[Sequence[T] | None], Awaitable[Sequence[R]]],
        candidates: Callable[[], Awaitable[Sequence[T]]],
        *,
        key: Callable[[T], KeyT],
    ) -> Sequence[R]:
        """Run a statement that finds its chats itself, for None. If that fails, run it for candidates.

        The statement has to leave ``cut_keys`` out, or it would fail again each time.
        """
        try:
            return await statement(None)
        except Exception as error:
            if not is_caused_by_data(error):
                raise
        found = await self.run(await candidates(), statement, key=key)
        return [*chain.from_iterable(found)]

    def read_each(
        self, rows: Iterable[T], read: Callable[[T], R], *, key: Callable[[T], KeyT]
    ) -> list[R]:
        """Return what ``read`` makes of each row, without those that it cannot read."""
        values = []
        for row in rows:
            try:
                values.append(read(row))
            except Exception as error:
                if not is_caused_by_data(error):
                    raise
                if not self.is_cut(key(row)):
                    self.cut(key(row), error)
        return values

    @contextmanager
    def guard(self, key: KeyT) -> Iterator[None]:
        """Cut the chat if the body fails for its data, and go on after it."""
        try:
            yield
        except Exception as error:
            if not is_caused_by_data(error):
                raise
            self.cut(key, error)

    def cut(self, key: KeyT, error: Exception) -> None:
        """Leave the chat out from now on, count it and log it."""
        now, last = anyio.current_time(), self._cuts.pop(key, None)
        if last is None or now > last.until + _FORGIVEN_AFTER_SECONDS:
            cut = _Cut(now + FIRST_CUT_SECONDS, FIRST_CUT_SECONDS, 1)
        else:
            seconds = min(2 * last.seconds, _LONGEST_CUT_SECONDS)
            cut = _Cut(now + seconds, seconds, last.count + 1)
        if len(self._cuts) >= _MAX_CUTS:
            del self._cuts[next(iter(self._cuts))]
        self._cuts[key] = cut
        self._metrics.cuts.add(self._actor)
        _log.error(
            "containment.cut",
            actor=self._actor,
            chat_id=key if isinstance(key, UUID) else None,
            owner_id=None if isinstance(key, UUID) else key,
            seconds=cut.seconds,
            exc_info=error,
        )
        self.on_cut(key)
