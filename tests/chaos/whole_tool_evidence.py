"""Evidence of a chat whose model called tools, in which nothing is wrong, for the tests of the audit."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid5

from chaos.audit import audit
from chaos.evidence import Evidence
from chaos.records import Effect, ModelCall, Request
from chaos.whole_evidence import START, entry, message, whole_evidence

TOOL_CHAT = "00000000-0000-4000-8000-000000000050"
ARGS = '{"call": 50, "how": "quick"}'
CALLS = ("call_50_0", "call_50_1")
ANSWER = "call 51 answers m50: done"


def effect(number: int, call_id: str, tool: str, began: float) -> Effect:
    return Effect(
        number=f"7-{number}",
        key=str(uuid5(UUID(TOOL_CHAT), f"2/{call_id}")),
        tool=tool,
        replica="a",
        asked="m50",
        call=50,
        how="quick",
        sent=START.timestamp() + began,
        began=START.timestamp() + began,
        ended=START.timestamp() + began + 0.1,
        end="answered",
        text=f"effect 7-{number}.",
    )


def _row(position: int, tool: str, policy: str, result: dict[str, Any]) -> dict[str, Any]:
    return {
        "chat_id": TOOL_CHAT,
        "message_id": 2,
        "tool_call_id": result["tool_call_id"],
        "position": position,
        "tool_name": tool,
        "executor": "server",
        "policy": policy,
        "state": "closed",
        "tries": 1,
        "epoch": 1,
        "started_at": START + timedelta(seconds=3),
        "completed_at": START + timedelta(seconds=4),
        "is_error": False,
        "answer": result,
        "question": None,
        "decision": None,
    }


def add_tool_chat(evidence: Evidence) -> Evidence:
    """Add a chat to evidence: one tool may run once, the other is idempotent, both have run."""
    tools = {"pay": "at_most_once", "read": "idempotent"}
    effects = [effect(n, *pair, 3.1) for n, pair in enumerate(zip(CALLS, tools, strict=True))]
    calls = [
        {"type": "tool-call", "tool_call_id": call_id, "tool_name": tool, "args": ARGS}
        for call_id, tool in zip(CALLS, tools, strict=True)
    ]
    results = [
        {
            "type": "tool-result",
            "tool_call_id": call["tool_call_id"],
            "tool_name": call["tool_name"],
            "result": f"effect {each.number}.",
            "is_error": False,
        }
        for call, each in zip(calls, effects, strict=True)
    ]
    closed = [
        {name: result[name] for name in ("tool_call_id", "tool_name", "is_error")}
        for result in results
    ]
    messages = [
        message(1, 1, "user", "m50"),
        message(2, 3, "assistant", "") | {"content": calls},
        message(3, 4, "tool", "") | {"content": results},
        message(4, 5, "assistant", ANSWER),
    ]
    journal = [
        entry(1, "create", "pending", 0, messages=[1]),
        entry(2, "claim", "running", 1),
        entry(3, "commit_step", "running", 1, messages=[2], settled_part=2),
        entry(4, "close_calls", "running", 1, messages=[3], closed=closed),
        entry(5, "finish_turn", "waiting", 1, messages=[4], settled_part=3, queue_length=0),
    ]
    for row in (*messages, *journal):
        row["chat_id"] = TOOL_CHAT
    [chat] = evidence.chats.values()
    evidence.chats[TOOL_CHAT] = chat | {
        "id": TOOL_CHAT,
        "version": 5,
        "epoch": 1,
        "settled_part": 3,
    }
    evidence.messages[TOOL_CHAT], evidence.journal[TOOL_CHAT] = messages, journal
    evidence.tool_calls[TOOL_CHAT] = [
        _row(position, tool, policy, result)
        for position, ((tool, policy), result) in enumerate(
            zip(tools.items(), results, strict=True)
        )
    ]
    evidence.effects = effects
    evidence.model_calls.append(
        ModelCall(number=51, replica="a", asked="m50", fault=None, text=ANSWER, began=0.0)
    )
    evidence.requests.append(
        Request(
            number=3,
            operation="create",
            method="POST",
            path="",
            text="m50",
            status=201,
            response={"id": TOOL_CHAT},
        )
    )
    return evidence


def evidence_with_tools() -> Evidence:
    """Return evidence of a chat with tools and one without, in which nothing is wrong."""
    return add_tool_chat(whole_evidence())


def found(evidence: Evidence) -> set[str]:
    """Return the names of the rules that find something."""
    return {violation.rule for violation in audit(evidence)}
