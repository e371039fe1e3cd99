"""Reasoning in tags at the start of an answer, as some open models write it without a parser in the server.

Tags count only at the very start, and only of a model that is known for them. Anywhere else they are text:
a model may well write about them.
"""

import re
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from chatd.domain.message import Part
from chatd.llm.provider import Delta, PartDelta

TAGGED_MODELS = re.compile(
    r"deepseek-r1|r1-distill|qwq|qwen-?3|magistral|marco-o1|glm-z1|glm-4\.[5-9]|minimax-m|thinking",
    re.IGNORECASE,
)
"""Models that are known to write their reasoning in tags, by their names."""
_OPEN, _CLOSE = "<think>", "</think>"


async def split_thinking(deltas: AsyncGenerator[Delta]) -> AsyncGenerator[Delta]:
    """Yield the deltas, with the text in tags at the start of the first part as reasoning of its own."""
    splitter = _Splitter()
    async with aclosing(deltas):
        async for delta in deltas:
            if isinstance(delta, PartDelta):
                for part in splitter.split(delta.part):
                    yield PartDelta(part)
            else:
                for part in splitter.flush():
                    yield PartDelta(part)
                yield delta
    for part in splitter.flush():
        yield PartDelta(part)


class _Splitter:
    def __init__(self) -> None:
        self._held = ""
        self._type: str | None = None
        """Type of the text of the first part: None while that is open."""
        self._shift = 0
        self._begins = False
        """True from the closing tag until text follows: the white space between them is dropped."""

    def split(self, part: Part) -> Iterator[Part]:
        if part["index"] != 0 or part["type"] != "text":
            yield from self.flush()
            self._type = self._type or "text"
            yield {**part, "index": part["index"] + self._shift}
            return
        if "text" not in part:
            yield {**part, "index": self._shift}
            return
        self._held += part["text"]
        if self._type is None:
            start = self._held.lstrip()
            if start.startswith(_OPEN):
                self._type, self._held, self._shift = "reasoning", start[len(_OPEN) :], 1
            elif not _OPEN.startswith(start):
                self._type = "text"
        yield from self._ready()

    def _ready(self) -> Iterator[Part]:
        """Yield the text whose type is known. Keep back what may be the start of the closing tag."""
        if self._type == "reasoning":
            thought, closed, rest = self._held.partition(_CLOSE)
            if closed:
                self._type, self._held, self._begins = "text", rest, True
            else:
                kept = max(n for n in range(len(_CLOSE)) if thought.endswith(_CLOSE[:n]))
                thought, self._held = thought[: len(thought) - kept], thought[len(thought) - kept :]
            if thought:
                yield {"index": 0, "type": "reasoning", "text": thought}
        if self._begins:
            self._held = self._held.lstrip()
            self._begins = not self._held
        if self._type == "text" and self._held:
            yield {"index": self._shift, "type": "text", "text": self._held}
            self._held = ""

    def flush(self) -> Iterator[Part]:
        """Yield what is kept back: no more text of the first part follows."""
        if self._held:
            thinking = self._type == "reasoning"
            yield {
                "index": 0 if thinking else self._shift,
                "type": "reasoning" if thinking else "text",
                "text": self._held,
            }
            self._held = ""
