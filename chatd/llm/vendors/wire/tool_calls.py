"""Numbering of the tool calls of a chat completion.

Servers send several calls with one index, without an index, or with one that starts anew with each chunk.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from chatd.domain.message import is_json_object
from chatd.llm.errors import InvalidProviderResponse
from chatd.llm.vendors.wire.values import arguments_text, identifier, integer


@dataclass(slots=True)
class _Call:
    number: int
    id: str | None
    name: str
    pieces: list[str] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        return is_json_object("".join(self.pieces))


class ToolCallNumbers:
    """Numbers of the calls of one answer.

    A piece begins a new call if it has an id that the call at its index does not have, or a name after
    arguments that are complete. An id that changes in the middle of the arguments, without a name, does
    not: some servers make a new id for each piece.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int | None, _Call] = {}

    @property
    def is_open(self) -> bool:
        """True if the arguments of the last call are not complete."""
        return bool(self._calls) and not self._calls[-1].is_complete

    def pieces(self, tool_calls: object) -> Iterator[dict[str, Any]]:
        """Yield the pieces of one chunk with the numbers of their calls, as the SDK expects them."""
        if not isinstance(tool_calls, list):
            raise InvalidProviderResponse("tool_calls is no list")
        for piece in tool_calls:
            if not isinstance(piece, Mapping):
                raise InvalidProviderResponse("a tool call is no object")
            function = piece.get("function")
            if not isinstance(function, Mapping):
                function = {}
            yield self._piece(piece, function)

    def _piece(self, piece: Mapping[str, Any], function: Mapping[str, Any]) -> dict[str, Any]:
        index, call_id = integer(piece.get("index")), identifier(piece.get("id"))
        name, args = function.get("name"), arguments_text(function.get("arguments"))
        name = name if isinstance(name, str) else ""
        call = self._by_index.get(index)
        if call is None and index is None and self._calls and not (call_id and name):
            call = self._calls[-1]
        begun = call is None or _begins_new_call(call, call_id=call_id, name=name)
        if call is None or begun:
            call = _Call(len(self._calls), call_id, "")
            self._calls.append(call)
        self._by_index[index] = call
        out: dict[str, Any] = {"index": call.number, "type": "function"}
        if call_id and (begun or call.id is None):
            call.id = out["id"] = call_id
        named = (
            {"name": name}
            if name and not (call.name and (call.pieces or name == call.name))
            else {}
        )
        call.name += named.get("name", "")
        if args:
            call.pieces.append(args)
        out["function"] = {**named, "arguments": args}
        extra = piece.get("extra_content")
        return {**out, "extra_content": extra} if isinstance(extra, Mapping) else out


def _begins_new_call(call: _Call, *, call_id: str | None, name: str) -> bool:
    if call_id and call.id and call_id != call.id:
        return bool(name) or not call.name or call.is_complete
    return bool(name) and call_id is None and call.is_complete
