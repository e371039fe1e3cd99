"""Random answers: whatever a model may write and its provider may send, in pieces."""

import random
from typing import Any

from chatd.domain.message import NATIVE_PART_TYPES, Part
from chatd.llm.native_tools import is_error_result, shown_result
from chatd.worker.tool_call_ids import ToolCallIds

PROVIDERS = {
    "acme": "openai",
    "other-organisation": "openai",
    "claude": "anthropic",
    "local": "openai-compatible",
    "le-chat": "mistral",
}
"""Kinds by the configured names of the providers between which a chat is switched."""

TEXTS = (
    *("Hi.", " ", "\n\n", "", "\u00a0", "a" * 300, "\u2028é"),
    *("<think>no</think>", "<system>x</system>"),
)
_NAMES = ("weather", "", "functions.weather", "wetter öffnen", "x" * 90, "search/web", "9lives")
_IDS = (
    "call_1",
    "call_1",
    "functions.weather:0",
    "",
    "x" * 180,
    "a|b",
    "é",
    "0123456789",
    "call-1 ",
)
_ARGS = (
    "{}",
    "",
    "{",
    '{"q": "x"}',
    "[1]",
    '"x"',
    "null",
    '{"n": NaN}',
    "nonsense",
    "[" * 5_000,
    " ",
)
_NATIVE = (
    ("native-tool-call", "native-tool-result"),
    ("native-tool-call", "native-tool-result", "text"),
    ("native-tool-call",),
    ("native-tool-result",),
)
"""Parts of native tools that come together, or that come alone."""
_NATIVE_ARGS = {
    "web_search": '{"type": "search", "query": "x"}',
    "code_execution": '{"container_id": "c", "code": "x"}',
}
_NATIVE_CONTENT: dict[str, Any] = {
    "web_search": [
        {"type": "web_search_result", "url": "u", "title": "t", "encrypted_content": "e"}
    ],
    "code_execution": {
        "type": "bash_code_execution_result",
        "stdout": "",
        "stderr": "",
        "return_code": 0,
        "content": [],
    },
}


class RandomModel:
    """Model that writes random answers, in the name of a provider."""

    provider: str
    _random: random.Random
    _number: int

    def deltas(self) -> list[Part]:
        """Return a response in pieces: parts in any order, the state of the provider at the end."""
        choose, number, ids = self._random.choice, self._number, ToolCallIds()
        kinds = [
            kind
            for _ in range(choose((0, 1, 2, 2, 3, 5)))
            for kind in choose((("text",), ("reasoning",), ("tool-call",), choose(_NATIVE)))
        ]
        pieces: list[Part] = []
        states: list[Part] = []
        native: Part = {}
        for index, kind in enumerate(kinds):
            where = {"index": index, "type": kind}
            if kind == "tool-call":
                call = {"tool_name": choose(_NAMES), "tool_call_id": choose(_IDS), "args": ""}
                pieces.append(ids.with_unique_id({**where, **call}))
                args = choose(_ARGS)
                pieces += [{**where, "args": args[:2]}, {**where, "args": args[2:]}]
            elif kind in NATIVE_PART_TYPES:
                if kind == "native-tool-call" or not native:
                    native = self._native_call(index)
                pieces.append({**where, **self._native_part(kind, native)})
            else:
                pieces += [{**where, "text": choose(TEXTS)} for _ in range(2)]
            key = f"{number}r" if "reasoning" in kinds[:index] else f"{number}"
            if kind in NATIVE_PART_TYPES:
                state = self._native_state(kind, native, key)
            else:
                state = self._state(kind, key, index)
            if state and choose((True, True, True, False)):
                states.append({**where, "provider": {"name": self.provider, **state}})
        return pieces + states

    def _native_call(self, index: int) -> Part:
        """Return a call of a native tool. Some ids are there again in other answers."""
        name = self._random.choice(("web_search", "code_execution"))
        number = self._random.choice((f"{self._number}.{index}", "again"))
        args = self._random.choice((_NATIVE_ARGS[name], _NATIVE_ARGS[name], "", "{"))
        return {"tool_name": name, "tool_call_id": f"{name}_{number}", "args": args}

    def _native_part(self, kind: str, native: Part) -> Part:
        """Return the whole of a native part, as the decoder of a stream builds it."""
        if kind == "native-tool-call":
            return native
        content = self._native_content(native["tool_name"])
        return {
            "tool_name": native["tool_name"],
            "tool_call_id": native["tool_call_id"],
            "result": shown_result(content),
            "is_error": is_error_result(content),
        }

    def _native_content(self, tool_name: str) -> Any:
        if PROVIDERS[self.provider] == "openai":
            return {"status": "completed"}
        return _NATIVE_CONTENT[tool_name]

    def _native_state(self, kind: str, native: Part, key: str) -> dict[str, Any]:
        name = native["tool_name"]
        is_result = kind == "native-tool-result"
        content = {"content": self._native_content(name)} if is_result else {}
        match PROVIDERS[self.provider]:
            case "openai":
                id_ = f"ws_{key}.{native['tool_call_id'].partition('.')[2]}"
                return {"id": id_, **content}
            case "anthropic":
                details = {"anthropic_tool_name": "bash_code_execution"}
                return {
                    "id": native["tool_call_id"].replace(".", "-"),
                    **content,
                    **({"details": details} if name == "code_execution" else {}),
                }
            case _:
                return {}

    def _state(self, kind: str, key: str, index: int) -> dict[str, Any]:
        signature = self._random.choice(("signed", "signed", ""))
        match PROVIDERS[self.provider], kind:
            case "openai", "reasoning":
                item = f"rs_{key.rstrip('r')}.{index // 2}"
                return {"id": item, **({"signature": signature} if signature else {})}
            case "openai", _:
                return {"id": f"{'msg' if kind == 'text' else 'fc'}_{key}.{index}"}
            case "anthropic", "reasoning":
                redacted = {"id": "redacted_thinking"} if self._random.random() < 0.2 else {}
                return {**redacted, "signature": signature} if signature else {}
            case "openai-compatible", "reasoning":
                return {"id": "reasoning_content"}
            case _:
                return {}
