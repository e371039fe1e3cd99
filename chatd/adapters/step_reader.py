"""The reader of one step of a turn: live deltas, then its stored message, as items.

A live part costs one item and no copy of what was sent before it. The parts of a step count from 0 in the
order in which they are shown: one that has nothing to show has no number.
"""

from collections.abc import Sequence
from typing import Any, Final

from chatd.adapters.turn_items import (
    PartBegan,
    PartDelta,
    PartEnded,
    StepBegan,
    StepEnded,
    StepVoided,
    TurnItem,
)
from chatd.domain.message import CLIENT_KEY, PROVIDER_DATA, Content, Message, Part

_TEXTS: Final = frozenset({"text", "reasoning"})
_CALLS: Final = frozenset({"tool-call", "native-tool-call"})
_WHOLE: Final = frozenset({"source", "file", "native-tool-result"})
"""Types of parts that a stream sends as one delta."""
_BODY: Final = {
    "text": "text",
    "reasoning": "text",
    "tool-call": "args",
    "native-tool-call": "args",
}
"""The key of the text of a part that arrives in pieces."""
_LEFT_OUT: Final = frozenset({"index", "text", "args", PROVIDER_DATA, CLIENT_KEY})
"""Keys that ``PartBegan`` has not."""


class _SentPart:
    """A part as far as it was sent. ``index`` is that of its deltas."""

    __slots__ = ("ended", "fields", "index", "pieces")

    def __init__(self, index: int) -> None:
        self.index = index
        self.fields: dict[str, Any] = {}
        self.pieces: list[str] = []
        self.ended = False

    @property
    def body(self) -> str:
        """The text so far."""
        if len(self.pieces) > 1:
            self.pieces[:] = ["".join(self.pieces)]
        return self.pieces[0] if self.pieces else ""

    def whole(self) -> Part:
        """Return the part as it is known."""
        key = _BODY.get(self.fields["type"])
        return {**self.fields, key: self.body} if key else self.fields

    @property
    def can_begin(self) -> bool:
        """True once it is known what the part is."""
        kind = self.fields["type"]
        if kind in _TEXTS:
            return any(self.pieces)
        return kind in _WHOLE or {"tool_call_id", "tool_name"} <= self.fields.keys()


class StepReader:
    """Reader of the running step number ``step``, and then of the message that is stored of it."""

    __slots__ = ("_began", "_is_torn", "_sent", "_waiting", "step")

    def __init__(self, step: int) -> None:
        self.step = step
        self._began = False
        self._sent: list[_SentPart] = []
        """The parts that were sent, by their number. Only the last one may still be open."""
        self._waiting: dict[int, _SentPart] = {}
        """Parts of which too little is known to begin them, by the index of their deltas."""
        self._is_torn = False
        """True once a delta cannot be sent in its place. The message of the step has it."""

    # -- live -------------------------------------------------------------------------------------

    def delta(self, delta: Part) -> Sequence[TurnItem]:
        """Return the items of a live delta."""
        index, sent = delta["index"], self._sent
        if self._is_torn or delta["type"] not in _SHOWN_LIVE:
            return ()
        if sent and sent[-1].index == index and not sent[-1].ended:
            return self._continue(sent[-1], delta)
        if sent and index <= sent[-1].index:
            self._is_torn = True
            return ()
        part = self._waiting.setdefault(index, _SentPart(index))
        _add(part, delta)
        if not part.can_begin:
            return ()
        self._waiting.clear()  # of those before it there was nothing to show
        items = [*self._begin(), *self._end_open()]
        self._sent.append(part)
        return [*items, *self._begin_part(part)]

    def preview(self, parts: Sequence[Part]) -> Sequence[TurnItem]:
        """Return the items of all live parts of the step, of which some may have been sent."""
        if not self._sent:
            return [item for delta in parts for item in self.delta(delta)]
        fresh = StepReader(self.step)
        for delta in parts:
            fresh.delta(delta)
        content = [part.whole() for part in fresh._sent]
        if len(content) < len(self._sent) or not self._precedes(content):
            self._is_torn = True  # it may have less than was sent, but the message has all
            return ()
        items = self._rest(content, complete=False)
        for ours, theirs in zip(self._sent, fresh._sent, strict=True):
            ours.index = theirs.index
        self._waiting = fresh._waiting
        return items

    def _continue(self, part: _SentPart, delta: Part) -> Sequence[TurnItem]:
        kind = part.fields["type"]
        text = delta.get(_BODY.get(kind, ""))
        if delta["type"] != kind or (len(delta) > _PLAIN_KEYS and _contradicts(part, delta)):
            self._is_torn = True
            return ()
        if not text:
            return ()
        part.pieces.append(text)
        return (PartDelta(self.step, len(self._sent) - 1, text),)

    # -- stored -----------------------------------------------------------------------------------

    def message(self, message: Message) -> Sequence[TurnItem]:
        """Return the items that complete the step as it was stored."""
        content = shown(message.content)
        voided: Sequence[TurnItem] = ()
        if len(self._sent) > len(content) or not self._precedes(content):
            voided = self.void()
        return [
            *voided,
            *self._begin(),
            *self._rest(content, complete=True),
            StepEnded(self.step, message),
        ]

    def void(self) -> Sequence[TurnItem]:
        """Return the item that takes back what was sent of the step, if something was."""
        began = self._began
        self._began = self._is_torn = False
        self._sent, self._waiting = [], {}
        return (StepVoided(self.step),) if began else ()

    def _precedes(self, content: Sequence[Part]) -> bool:
        """Return whether what was sent is how ``content`` begins."""
        for ours, stored in zip(self._sent, content, strict=False):
            kind = stored["type"]
            if ours.fields != _fields(stored):
                return False
            body: str = stored.get(_BODY.get(kind, ""), "")
            if not body.startswith(ours.body) or (ours.ended and len(ours.body) != len(body)):
                return False
        return True

    def _rest(self, content: Sequence[Part], *, complete: bool) -> list[TurnItem]:
        """Return what was not sent yet of ``content``, of which it is known that it was sent in part."""
        items: list[TurnItem] = []
        for number, stored in enumerate(content):
            is_last = number == len(content) - 1
            if number < len(self._sent):
                part = self._sent[number]
                body = stored.get(_BODY.get(stored["type"], ""), "")
                if rest := body[len(part.body) :]:
                    part.pieces.append(rest)
                    items.append(PartDelta(self.step, number, rest))
            else:
                items += self._begin()
                part = _SentPart(number)
                _add(part, stored)
                self._sent.append(part)
                items += self._begin_part(part)
            if not part.ended and (complete or not is_last):
                part.ended = True
                items.append(PartEnded(self.step, number, public(stored)))
        return items

    # -- items ------------------------------------------------------------------------------------

    def _begin(self) -> Sequence[TurnItem]:
        if self._began:
            return ()
        self._began = True
        return (StepBegan(self.step),)

    def _begin_part(self, part: _SentPart) -> list[TurnItem]:
        """Return the begin of the last part, with its text so far."""
        number = len(self._sent) - 1
        items: list[TurnItem] = [PartBegan(self.step, number, dict(part.fields))]
        if body := part.body:
            items.append(PartDelta(self.step, number, body))
        return items

    def _end_open(self) -> list[TurnItem]:
        """Return the end of the last part, if it is open."""
        if not self._sent or self._sent[-1].ended:
            return []
        part = self._sent[-1]
        part.ended = True
        return [PartEnded(self.step, len(self._sent) - 1, part.whole())]


_SHOWN_LIVE: Final = _TEXTS | _CALLS | _WHOLE
_PLAIN_KEYS: Final = 3
"""Keys of a delta that has nothing but its index, its type and text."""


def public(part: Part) -> Part:
    """Return a part without what no client is shown."""
    return {key: value for key, value in part.items() if key not in {PROVIDER_DATA, CLIENT_KEY}}


def shown(content: Content) -> list[Part]:
    """Return the parts that have something to show."""
    return [
        part
        for part in content
        if part["type"] in _CALLS | _WHOLE or (part["type"] in _TEXTS and part.get("text"))
    ]


def _fields(part: Part) -> Part:
    """Return a part without its text, and without what no client is shown."""
    return {key: value for key, value in part.items() if key not in _LEFT_OUT}


def _contradicts(part: _SentPart, delta: Part) -> bool:
    """Return whether a delta has other fields than the part had when it began."""
    return any(
        part.fields.get(key) != value for key, value in delta.items() if key not in _LEFT_OUT
    )


def _set_fields(part: _SentPart, fields: Part) -> None:
    part.fields.update(_fields(fields))


def _add(part: _SentPart, delta: Part) -> None:
    _set_fields(part, delta)
    if text := delta.get(_BODY.get(delta["type"], "")):
        part.pieces.append(text)
