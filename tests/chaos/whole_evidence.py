"""Evidence in which nothing is wrong, made by hand, for the tests of the audit."""

from datetime import UTC, datetime, timedelta
from typing import Any

from chaos.evidence import Evidence
from chaos.records import Life, ModelCall, Picture, Request

CHAT = "c1"
START = datetime(2026, 3, 1, tzinfo=UTC)


ANSWER = "call 1 answers m1: one word"
TEXT, CALLED = [{"type": "text", "text": ANSWER}], "call_2"


def entry(version: int, transition: str, status: str, epoch: int, **data: Any) -> dict[str, Any]:
    worker = "w1" if transition in {"claim", "finish_turn"} else None
    return {
        "chat_id": CHAT,
        "version": version,
        "transition": transition,
        "status": status,
        "epoch": epoch,
        "worker_id": worker,
        "created_at": START + timedelta(seconds=version),
        "data": data,
    }


def message(number: int, version: int, role: str, text: str) -> dict[str, Any]:
    return {
        "chat_id": CHAT,
        "id": number,
        "version": version,
        "role": role,
        "content": [{"type": "text", "text": text}],
        "visibility": "both",
        "superseded_version": None,
        "covers_until": None,
        "compacted_by": None,
        "finish_reason": "stop" if role == "assistant" else None,
    }


def whole_evidence() -> Evidence:
    """Return evidence of one chat with two messages and their answers, in which nothing is wrong."""
    messages = [
        message(1, 1, "user", "m1"),
        message(2, 3, "assistant", ANSWER),
        message(3, 4, "user", "m2"),
        message(4, 6, "assistant", "call 2 answers m2: other"),
    ]
    chat = {
        "id": CHAT,
        "parent_chat_id": None,
        "status": "waiting",
        "version": 6,
        "epoch": 2,
        "worker_id": None,
        "settled_part": 2,
        "queue_length": 0,
        "title": "",
        "labels": {},
        "server_tools": None,
        "permissions": None,
        "compaction_request": None,
        "archived": False,
    }
    request: dict[str, Any] = {"method": "POST", "path": "", "status": 201}
    picture = Picture(
        subscriber="raw SSE",
        chat_id=CHAT,
        messages=[dict(row) for row in messages],
        status="waiting",
        title="",
        archived=False,
        queue_length=0,
        version=6,
    )
    return Evidence(
        chats={CHAT: chat},
        journal={
            CHAT: [
                entry(1, "create", "pending", 0, messages=[1]),
                entry(2, "claim", "running", 1),
                entry(3, "finish_turn", "waiting", 1, messages=[2], settled_part=2, queue_length=0),
                entry(4, "send", "pending", 1, messages=[3], queue_length=0),
                entry(5, "claim", "running", 2),
                entry(6, "finish_turn", "waiting", 2, messages=[4], settled_part=2, queue_length=0),
            ]
        },
        messages={CHAT: messages},
        requests=[
            Request(number=1, operation="create", text="m1", response={"id": CHAT}, **request),
            Request(number=2, operation="send", text="m2", chat_id=CHAT, response={}, **request),
        ],
        model_calls=[
            ModelCall(number=1, replica="a", asked="m1", fault=None, text=ANSWER, began=0.0),
            ModelCall(
                number=2,
                replica="a",
                asked="m2",
                fault=None,
                text="call 2 answers m2: other",
                began=0.0,
            ),
        ],
        pictures=[picture],
        lives=[
            Life(
                replica="a",
                worker_id="w1",
                pid=1,
                began=0.0,
                ended=9.0,
                exit_code=0,
                signals=[(8.0, "SIGTERM")],
                events={"daemon.starting": 1},
            )
        ],
    )
