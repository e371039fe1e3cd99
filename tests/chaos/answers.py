"""Answers that people and clients give to what a chat asks: allowed, denied, with other arguments."""

import json
import random
from typing import Any

_CHANGED, _REMEMBERED = 0.3, 0.1
"""Shares of approvals that change the arguments, and that are to be remembered."""


def answer_to(action: dict[str, Any], choose: random.Random) -> dict[str, Any]:
    """Return an answer, unlike every other one to the same question."""
    answer: dict[str, Any] = {"tool_call_id": action["tool_call_id"]}
    unique = choose.getrandbits(48)
    if action["kind"] == "result":
        return answer | {"result": f"found {unique}"}
    if action["kind"] == "input":
        return answer | _input(action["schema"], unique, choose)
    if choose.random() < 0.3:
        answer |= {"decision": "deny", "reason": f"no {unique}"}
    else:
        answer |= {"decision": "allow"}
        if choose.random() < _CHANGED:
            args = json.loads(action["args"])
            answer["args"] = args | {"call": -unique, "how": "quick"}
    if choose.random() < _REMEMBERED:
        answer["remember"] = "chat"
    return answer


def _input(schema: dict[str, Any], unique: int, choose: random.Random) -> dict[str, Any]:
    """Return the answer of a person to a question: one of its options, words, or none."""
    word = choose.choice(["accept", "accept", "accept", "decline", "cancel"])
    if word != "accept":
        return {"input": word}
    options = schema["properties"]["answer"].get("enum") or [f"the one of {unique}"]
    return {"input": word, "content": {"answer": choose.choice(options)}}


def decision_of(answer: dict[str, Any]) -> dict[str, Any]:
    """Return what the ledger is to have of an answer."""
    if "result" in answer:
        return {"decision": "result"}
    if "input" in answer:
        content = {"content": answer["content"]} if "content" in answer else {}
        return {"decision": answer["input"]} | content
    decision = {name: answer[name] for name in ("decision", "reason", "args") if name in answer}
    return decision | ({"remember": True} if "remember" in answer else {})
