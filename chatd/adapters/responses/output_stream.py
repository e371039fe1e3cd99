"""The output of a response as it grows: its items, and the numbered events that show them."""

from collections.abc import Iterator
from typing import Any

from chatd.adapters.responses.ids import ItemId, ResponseId
from chatd.adapters.responses.open_item import ITEM_KINDS, Event, OpenItem
from chatd.adapters.responses.output import (
    Item,
    approval_request_item,
    function_call_item,
    url_citation,
)
from chatd.adapters.sequence import TurnSequence
from chatd.domain.message import Part


class OutputStream:
    """The items of a response, for one subscriber.

    A text is open until the next item or the end of its step, since sources may follow on it.
    """

    def __init__(self, turn_id: ResponseId, sequence: TurnSequence) -> None:
        self._turn_id = turn_id
        self._sequence = sequence
        self._step = 0
        self.items: list[Item] = []
        self._items_of_earlier_steps = 0
        self._shown_items = 0
        """Items that were shown, those of void answers included."""
        self._open: OpenItem | None = None
        self._kind = ""
        """The type of the part under way."""
        self._citations: list[dict[str, Any]] = []
        """Sources that came before a text of their step."""

    def begin_step(self, step: int) -> Iterator[Event]:
        """Begin a step. Yield what tells that the subscriber has a void answer in its place."""
        self._step, self._items_of_earlier_steps = step, len(self.items)
        self._citations = []
        number = self._sequence.begin_step(step)
        if number is not None:
            # What the subscriber has of it is stored nowhere: the first text, most likely.
            attempt = max(self._sequence.attempt - 1, 0)
            item = OpenItem("text", self._id("msg", 0, attempt=attempt), self._shown_items)
            yield item.done("incomplete") | {"sequence_number": number}

    def void_step(self, step: int) -> Iterator[Event]:
        """Take an answer back."""
        self._step = step
        number = self._sequence.void_step(step)
        if self._open is not None:
            yield self._open.done("incomplete") | {"sequence_number": number}
        self._open, self._kind, self._citations = None, "", []
        del self.items[self._items_of_earlier_steps :]

    def begin_part(self, part: Part) -> Iterator[Event]:
        """Begin a part. The item of a text opens with its first character."""
        self._kind = part["type"]
        if self._kind in ITEM_KINDS or self._kind == "tool-call":
            yield from self.close("completed")

    def add_text(self, index: int, text: str) -> Iterator[Event]:
        """Add to a text or reasoning. The arguments of calls are shown later."""
        if self._kind not in ITEM_KINDS:
            return
        if self._open is None:
            yield from self._open_item(index)
        assert self._open is not None  # noqa: S101 - for mypy
        self._open.add(text)
        unknown = self._sequence.take_text(text)
        if unknown is not None:
            yield self._open.delta(unknown[0]) | {"sequence_number": unknown[1]}

    def _open_item(self, index: int) -> Iterator[Event]:
        item = OpenItem(self._kind, self._id(ITEM_KINDS[self._kind], index), self._shown_items)
        self._open = item
        self._shown_items += 1
        for event in item.added():
            yield from self.number(event)
        if item.is_message:
            for citation in self._citations:
                yield from self.number(item.cite(citation))
            self._citations = []

    def cite(self, source: Part) -> Iterator[Event]:
        """Add a source to the text before it, or to the next one of its step."""
        citation = url_citation(source)
        if citation is None:
            return
        if self._open is not None and self._open.is_message:
            yield from self.number(self._open.cite(citation))
        else:
            self._citations.append(citation)

    def close(self, status: str) -> Iterator[Event]:
        """Close the item that is open, if any."""
        if self._open is None:
            return
        for event in self._open.closing(status):
            yield from self.number(event)
        self.items.append(self._open.item(status))
        self._open = None

    def end_step(self, step: int, *, is_whole: bool) -> Iterator[Event]:
        """End a step, which is stored."""
        yield from self.close("completed" if is_whole else "incomplete")
        self._step, self._items_of_earlier_steps = step + 1, len(self.items)

    def call_function(self, step: int, index: int, call: Part) -> Iterator[Event]:
        """Show a call that the client runs."""
        item_id = self._id("fc", index, step=step)
        where = {"item_id": item_id, "output_index": self._shown_items}
        item = function_call_item(item_id, call, "completed")
        yield from self._item("added", function_call_item(item_id, call, "in_progress", args=""))
        unknown = self._sequence.take_text(item["arguments"])
        if unknown is not None:
            name = "response.function_call_arguments.delta"
            yield {"type": name, **where, "delta": unknown[0], "sequence_number": unknown[1]}
        yield from self.number(
            {
                "type": "response.function_call_arguments.done",
                **where,
                "name": item["name"],
                "arguments": item["arguments"],
            }
        )
        yield from self._end_item(item)

    def ask_approval(self, step: int, index: int, call: Part) -> Iterator[Event]:
        """Ask whether the server may run a call."""
        item = approval_request_item(self._id("mcpr", index, step=step), call)
        yield from self._item("added", item)
        yield from self._end_item(item)

    def _end_item(self, item: Item) -> Iterator[Event]:
        yield from self._item("done", item)
        self.items.append(item)
        self._shown_items += 1

    def _item(self, name: str, item: Item) -> Iterator[Event]:
        event = {"output_index": self._shown_items, "item": item}
        yield from self.number({"type": f"response.output_item.{name}", **event})

    def number(self, event: Event, *, at: int | None = None) -> Iterator[Event]:
        """Yield an event with its number, unless the subscriber has it."""
        number = self._sequence.take(at=at)
        if number is not None:
            yield event | {"sequence_number": number}

    def _id(
        self, kind: str, index: int, *, step: int | None = None, attempt: int | None = None
    ) -> str:
        step = self._step if step is None else step
        attempt = self._sequence.attempt if attempt is None else attempt
        return str(ItemId(kind, self._turn_id, step + 1, index, attempt))
