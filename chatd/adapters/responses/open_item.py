"""The item of a text under way, of which there is one at a time."""

from typing import Any, Final

from chatd.adapters.responses.output import (
    Item,
    message_item,
    reasoning_content,
    reasoning_item,
    text_content,
)

Event = dict[str, Any]

_NAMES: Final = {"text": "output_text", "reasoning": "reasoning_text"}
"""Names of the events of a text, by the type of its part."""
ITEM_KINDS: Final = {"text": "msg", "reasoning": "rs"}
"""Beginnings of the ids of items, by the type of their part."""


class OpenItem:
    """A text or reasoning that is being said, as an item of the output."""

    def __init__(self, kind: str, item_id: str, output_index: int) -> None:
        self._kind = kind
        self._where = {"item_id": item_id, "output_index": output_index, "content_index": 0}
        self._texts: list[str] = []
        self._citations: list[dict[str, Any]] = []
        self._logprobs: dict[str, Any] = {"logprobs": []} if kind == "text" else {}

    @property
    def is_message(self) -> bool:
        return self._kind == "text"

    def added(self) -> tuple[Event, Event]:
        """Return the events that open it."""
        return (
            self._item_event("added", self._item(None, "in_progress")),
            {"type": "response.content_part.added", **self._where, "part": self._content("")},
        )

    def add(self, text: str) -> None:
        self._texts.append(text)

    def delta(self, text: str) -> Event:
        """Return the event of more text."""
        name = f"response.{_NAMES[self._kind]}.delta"
        return {"type": name, **self._where, "delta": text, **self._logprobs}

    def cite(self, citation: dict[str, Any]) -> Event:
        """Add a citation. Return its event."""
        self._citations.append(citation)
        return {
            "type": "response.output_text.annotation.added",
            **self._where,
            "annotation_index": len(self._citations) - 1,
            "annotation": citation,
        }

    def closing(self, status: str) -> tuple[Event, Event, Event]:
        """Return the events of a whole text."""
        text = "".join(self._texts)
        name = f"response.{_NAMES[self._kind]}.done"
        return (
            {"type": name, **self._where, "text": text, **self._logprobs},
            {"type": "response.content_part.done", **self._where, "part": self._content(text)},
            self.done(status),
        )

    def done(self, status: str) -> Event:
        """Return the last event of the item."""
        return self._item_event("done", self.item(status))

    def item(self, status: str) -> Item:
        """Return the item with the text so far."""
        return self._item("".join(self._texts), status)

    def _item_event(self, name: str, item: Item) -> Event:
        index = self._where["output_index"]
        return {"type": f"response.output_item.{name}", "output_index": index, "item": item}

    def _item(self, text: str | None, status: str) -> Item:
        item_id = str(self._where["item_id"])
        if self.is_message:
            return message_item(item_id, text, status, self._citations)
        return reasoning_item(item_id, text, status)

    def _content(self, text: str) -> dict[str, Any]:
        if self.is_message:
            return text_content(text, self._citations)
        return reasoning_content(text)
