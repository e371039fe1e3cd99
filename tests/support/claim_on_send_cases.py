"""Cases in which a transition of a caller may claim its chat, or may not."""

from dataclasses import replace
from uuid import uuid4

from chatd.domain.chat import IDLE, BusyBehavior, Status
from chatd.domain.files import new_file
from chatd.domain.request_actor import RequestActor
from chatd.domain.transitions import Transition
from chatd.store.idempotency import IdempotencyKey
from chatd.store.limits import ChatLimits
from chatd.store.tool_calls import ToolResult
from support.claim_on_send import Case
from support.factories import MODEL, OTHER_MODEL, OWNER, WORKER, text_content
from support.transitions import may_queue

KEY = IdempotencyKey(owner_id=OWNER, key="k", request_hash=b"1")
FILE = new_file(b"bytes", media_type="text/plain", name="a.txt")
TOKEN = uuid4()
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


BY_STATUS = [
    Case(
        name=f"{status}{' with a queue' if queued else ''}, {busy}",
        claims=status in IDLE and not queued,
        status=status,
        queued=queued,
        request={"busy_behavior": busy},
    )
    for status in Status
    for queued in ((0, 2) if may_queue(status) else (0,))
    for busy in BusyBehavior
]
"""Every row of the table in every status."""

OTHERS = [
    Case(name="archived", claims=False, columns={"archived": True}),
    Case(name="another owner's", claims=False, columns={"owner_id": "bob"}),
    Case(name="other model", claims=True, request={"model_config_id": OTHER_MODEL}),
    Case(
        name="model of other workers",
        claims=False,
        request={"model_config_id": OTHER_MODEL},
        models=(MODEL,),
    ),
    Case(name="last model of other workers", claims=False, models=(OTHER_MODEL,)),
    Case(name="key", claims=True, request={"key": KEY}),
    Case(name="key of a queued message", claims=False, status=Status.RUNNING, request={"key": KEY}),
    Case(name="actor", claims=True, request={"actor": RequestActor("admin", TOKEN)}),
    Case(name="owner's token", claims=True, request={"actor": RequestActor(OWNER, TOKEN)}),
    Case(name="file", claims=True, request={"content": (FILE.reference(),), "files": (FILE,)}),
    Case(name="unstorable text", claims=True, request={"content": text_content("a\x00b\ud800")}),
    Case(name="open tool calls", claims=False, status=Status.ERROR, tool_calls=True),
    Case(name="no advance", claims=True, advance=False),
    Case(
        name="counters",
        claims=True,
        status=Status.ERROR,
        columns={"version": 40, "epoch": 7, "committed_steps": 3, "settled_part": 9, "round": 5},
    ),
    Case(
        name="lapsed",
        claims=True,
        columns={
            "committed_steps": 3,
            "lapsed_step": 3,
            "lapsed_worker_id": WORKER,
            "claim_traceparent": TRACEPARENT,
        },
    ),
    Case(
        name="lapsed before",
        claims=True,
        columns={"committed_steps": 3, "lapsed_step": 2, "claim_traceparent": TRACEPARENT},
    ),
    Case(name="last running", claims=True, running=1, limits=ChatLimits(max_running_per_owner=2)),
    Case(name="held", claims=False, running=2, limits=ChatLimits(max_running_per_owner=2)),
    Case(name="last active", claims=True, running=1, limits=ChatLimits(max_active_chats=2)),
    Case(name="too many active", claims=False, running=2, limits=ChatLimits(max_active_chats=2)),
    Case(name="full", claims=False, limits=ChatLimits(max_chat_bytes=10)),
    Case(
        name="no storage",
        claims=False,
        columns={"stored_bytes": 70_000},
        request={"content": text_content("".join(map(str, range(30_000))))},
        limits=ChatLimits(max_owner_bytes=80_000),
    ),
]

NEW_CHATS = [
    Case(name="empty", claims=False, request={"content": None}),
    Case(name="asked", claims=True),
    Case(
        name="full of everything",
        claims=True,
        request={
            "content": (FILE.reference(),),
            "files": (FILE,),
            "system_prompt": "be brief",
            "title": "a \x00 title",
            "labels": {"a": "b"},
            "tools": [{"name": "clock", "description": "", "parameters": {}}],
            "actor": RequestActor("admin", TOKEN),
        },
    ),
    Case(name="other model", claims=True, request={"model_config_id": OTHER_MODEL}),
    Case(name="model of other workers", claims=False, models=(OTHER_MODEL,)),
    Case(name="key", claims=True, request={"key": KEY}),
    Case(name="key, empty", claims=False, request={"key": KEY, "content": None}),
    Case(name="no advance", claims=True, advance=False),
    Case(name="last running", claims=True, running=1, limits=ChatLimits(max_running_per_owner=2)),
    Case(name="held", claims=False, running=2, limits=ChatLimits(max_running_per_owner=2)),
    Case(name="too many active", claims=False, running=2, limits=ChatLimits(max_active_chats=2)),
    Case(name="full", claims=False, limits=ChatLimits(max_chat_bytes=10)),
]
NEW_CHATS = [replace(case, transition=Transition.CREATE) for case in NEW_CHATS]

CLAIMABLE_STATUSES = {
    Transition.RETRY: (Status.ERROR,),
    Transition.EDIT: (*IDLE, Status.REQUIRES_ACTION, Status.PARKED),
    Transition.REGENERATE: (*IDLE, Status.REQUIRES_ACTION, Status.PARKED),
    Transition.SUBMIT_TOOL_RESULTS: (Status.REQUIRES_ACTION,),
}
"""Statuses of the chats that no worker has and that do not wait in the line, by the transition."""


def transition_cases(transition: Transition) -> list[Case]:
    """Return every row of the table of a transition in every status, and what else may decide."""
    statuses = CLAIMABLE_STATUSES[transition]
    base = Case(name="", claims=True, status=statuses[0], transition=transition)
    archived = {"columns": {"archived": True}, "status": Status.ERROR}
    cases = [
        replace(
            base,
            name=f"{status}{' with a queue' if queued else ''}",
            claims=status in statuses,
            status=status,
            queued=queued,
        )
        for status in Status
        for queued in ((0, 2) if may_queue(status) else (0,))
    ]
    cases += [
        replace(base, name="archived", claims=False, **archived),
        replace(base, name="another owner's", claims=False, columns={"owner_id": "bob"}),
        replace(base, name="model of other workers", claims=False, models=(OTHER_MODEL,)),
        replace(base, name="key", request={"key": KEY}),
        replace(base, name="actor", request={"actor": RequestActor("admin", TOKEN)}),
        replace(base, name="owner's token", request={"actor": RequestActor(OWNER, TOKEN)}),
        replace(base, name="no advance", advance=False),
    ]
    cases += [
        replace(base, name=case.name, columns=case.columns)
        for case in OTHERS
        if case.name in ("counters", "lapsed", "lapsed before")
    ]
    two = ChatLimits(max_running_per_owner=2)
    cases += [
        replace(base, name="last running", running=1, limits=two),
        replace(base, name="held", claims=False, running=2, limits=two),
    ]
    if transition is not Transition.SUBMIT_TOOL_RESULTS:
        two = ChatLimits(max_active_chats=2)
        cases += [
            replace(base, name="last active", running=1, limits=two),
            replace(base, name="too many active", claims=False, running=2, limits=two),
        ]
    if transition in {Transition.EDIT, Transition.SUBMIT_TOOL_RESULTS}:
        full = ChatLimits(max_chat_bytes=10)
        cases.append(replace(base, name="full", claims=False, limits=full))
    if transition is Transition.REGENERATE:
        cases.append(replace(base, name="full", limits=ChatLimits(max_chat_bytes=10)))
    if transition is Transition.EDIT:
        file = {"content": (FILE.reference(),), "files": (FILE,)}
        cases += [
            replace(base, name="file", request=file),
            replace(base, name="no such message", claims=False, request={"message_id": 7}),
        ]
    if transition is Transition.SUBMIT_TOOL_RESULTS:
        other = [ToolResult(tool_call_id="other", result=1)]
        cases.append(replace(base, name="other call", claims=False, request={"results": other}))
    return cases
