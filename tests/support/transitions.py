"""One call of the store for every transition of the table."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

from chatd.domain.agents import Wait
from chatd.domain.chat import BusyBehavior, Chat, Status, Usage
from chatd.domain.message import NewMessage, Part, Role
from chatd.domain.question import CLIENT_RUNS
from chatd.domain.tool_call import CallState, Executor, NewToolCall, ToolResult
from chatd.domain.transitions import Transition
from chatd.store.chats import Chats
from chatd.store.children import Children
from chatd.store.commands import (
    CloseCalls,
    CommitStep,
    Defer,
    Fail,
    FinishInterrupt,
    FinishTurn,
    Park,
    ReapInterrupt,
    RecordRetry,
    Release,
    RequireAction,
)
from chatd.store.commits import NO_LISTENER, CommitListener
from chatd.store.compact import Compact
from chatd.store.database import Database
from chatd.store.messages import Messages
from chatd.store.pending import PendingChats
from chatd.store.queue import Queue
from chatd.store.records import TransitionResult
from chatd.store.titles import Titles
from chatd.store.tool_calls import ToolCalls
from chatd.store.turns import FencingToken, Turns
from support.claims import claim_chats
from support.factories import (
    MODEL,
    OWNER,
    PENDING_CALL_IDS,
    WORKER,
    text_content,
    tool_call_content,
)
from support.leases import reap

REAPER = UUID("00000000-0000-4000-8000-00000000dead")


class NoChatFound(Exception):
    """Failure of a transition that found no chat to change."""


ANSWER = NewMessage(role=Role.ASSISTANT, content=text_content("an answer"))
STEP = {"step": 0, "messages": [ANSWER], "settled_part": 7}
FAILED_ATTEMPT: dict[str, Any] = {
    "step": 0,
    "attempts": 1,
    "delay_seconds": 1.0,
    "settled_part": 7,
    "failure": {"kind": "server"},
}
CALLS = tool_call_content("z", "a")


def asked_calls(parts: Iterable[Part], message_id: int | None = None) -> list[NewToolCall]:
    """Return calls that the client is asked for."""
    return [
        NewToolCall(
            part=part,
            message_id=message_id,
            state=CallState.ASKED,
            executor=Executor.CLIENT,
            question=CLIENT_RUNS,
        )
        for part in parts
    ]


NEW_CHAT = {Transition.CREATE, Transition.FORK}
"""Transitions that begin the journal of a chat."""
FIRST_MESSAGE_ID = 1_000_001
"""The message that ``chat_with_status`` inserts."""
SUMMARY = NewMessage(role=Role.USER, content=text_content("a summary"))
COMPACTION: dict[str, Any] = {
    "step": 0,
    "covers_until": FIRST_MESSAGE_ID,
    "summary": SUMMARY,
    "before_tokens": 90,
    "after_tokens": 20,
    "usage": Usage(100, 10),
    "settled_part": 7,
}
STARTED_CALL_ID = "t1"
CLOSE_STARTED_CALL = CloseCalls(
    step=0,
    results=[ToolResult(tool_call_id=STARTED_CALL_ID, result="sunny")],
    settled_part=0,
)
"""The result of a call that has to be inserted before."""
REQUIRED_ACTION = {
    "step": 0,
    "messages": [NewMessage(role=Role.ASSISTANT, content=CALLS)],
    "calls": asked_calls(CALLS),
    "timeouts": {"result": 60.0},
    "settled_part": 7,
}


PARKED: dict[str, Any] = {
    "step": 0,
    "messages": [NewMessage(role=Role.ASSISTANT, content=CALLS)],
    "calls": [
        NewToolCall(
            part=part,
            message_id=None,
            state=CallState.PARKED,
            wait=Wait(chat_ids=(), for_all=True, seconds=60.0),
        )
        for part in CALLS
    ],
    "settled_part": 7,
}


async def make_transition(
    database: Database,
    transition: Transition,
    busy: BusyBehavior | None,
    chat: Chat,
    *,
    given_up: bool = False,
    listener: CommitListener = NO_LISTENER,
) -> TransitionResult:
    """Make one transition of a chat. Each of the table has its line here."""
    chats, turns = Chats(database, listener=listener), Turns(database, listener=listener)
    messages, queue = Messages(database, listener=listener), Queue(database, listener=listener)
    tool_calls = ToolCalls(database, listener=listener)
    fence = FencingToken(chat.id, WORKER, chat.epoch)
    requests: dict[Transition, Callable[[], Awaitable[Any]]] = {
        Transition.SEND: lambda: chats.send(
            chat.id,
            owner_id=OWNER,
            content=text_content("more"),
            busy_behavior=busy or BusyBehavior.QUEUE,
        ),
        Transition.INTERRUPT: lambda: chats.interrupt(chat.id, owner_id=OWNER),
        Transition.SUBMIT_TOOL_RESULTS: lambda: tool_calls.submit(
            chat.id,
            owner_id=OWNER,
            results=[
                ToolResult(tool_call_id=call_id, result=call_id)
                for call_id in sorted(PENDING_CALL_IDS)
            ],
        ),
        Transition.EDIT: lambda: first_edited(messages, chat),
        Transition.REGENERATE: lambda: messages.regenerate(
            chat.id, FIRST_MESSAGE_ID, owner_id=OWNER
        ),
        Transition.ANSWER_ACTION: lambda: tool_calls.answer(
            chat.id,
            owner_id=OWNER,
            answers=[
                ToolResult(tool_call_id=call_id, result=call_id) for call_id in PENDING_CALL_IDS
            ],
        ),
        Transition.REMOVE_QUEUED: lambda: last_queued(queue.remove, database, chat),
        Transition.PROMOTE: lambda: last_queued(queue.promote, database, chat),
        Transition.RETRY: lambda: chats.retry(chat.id, owner_id=OWNER),
        Transition.APPEND: lambda: messages.append(chat.id, owner_id=OWNER, messages=[ANSWER]),
        Transition.CLEAR: lambda: messages.clear(chat.id, owner_id=OWNER),
        Transition.REQUEST_COMPACTION: lambda: messages.request_compaction(
            chat.id, owner_id=OWNER, instructions="keep the names"
        ),
        Transition.DESCRIBE: lambda: chats.describe(chat.id, owner_id=OWNER, title="new"),
        Transition.SET_TITLE: lambda: Titles(database, listener=listener).set(
            chat.id, "new", Usage()
        ),
        Transition.ARCHIVE: lambda: chats.archive(chat.id, owner_id=OWNER),
        Transition.UNARCHIVE: lambda: chats.archive(chat.id, owner_id=OWNER, archived=False),
        Transition.CLAIM: lambda: claim_chats(database, 10, listener=listener),
        Transition.COMMIT_STEP: lambda: turns.apply(fence, CommitStep(**STEP)),
        Transition.CLOSE_CALLS: lambda: turns.apply(fence, CLOSE_STARTED_CALL),
        Transition.COMPACT: lambda: turns.apply(fence, Compact(**COMPACTION)),
        Transition.RECORD_RETRY: lambda: turns.apply(fence, RecordRetry(**FAILED_ATTEMPT)),
        Transition.DEFER: lambda: turns.apply(
            fence, Defer(**FAILED_ATTEMPT, remaining_seconds=60.0)
        ),
        Transition.REQUIRE_ACTION: lambda: turns.apply(fence, RequireAction(**REQUIRED_ACTION)),
        Transition.PARK: lambda: turns.apply(fence, Park(**PARKED)),
        Transition.FINISH_TURN: lambda: turns.apply(fence, FinishTurn(**STEP)),
        Transition.FINISH_INTERRUPT: lambda: turns.apply(fence, FinishInterrupt(**STEP)),
        Transition.FAIL: lambda: turns.apply(
            fence, Fail(step=0, last_error="no", last_error_detail={"kind": "auth"}, settled_part=7)
        ),
        Transition.RELEASE: lambda: turns.apply(fence, Release(step=0, reason="shutdown")),
        Transition.REAP: lambda: reap(
            database, listener=listener, max_recoveries=0 if given_up else 3
        ),
        Transition.REAP_INTERRUPT: lambda: turns.apply(fence, ReapInterrupt(**STEP)),
        Transition.EXPIRE_ACTION: tool_calls.expire,
        Transition.WAKE: lambda: woken(Children(database, listener=listener)),
        Transition.FAIL_UNSERVED: lambda: PendingChats(
            database, worker_id=REAPER, listener=listener
        ).fail_unserved([MODEL], lease_seconds=60.0, grace_seconds=-1.0),
    }
    answer = await requests[transition]()
    if isinstance(answer, TransitionResult):
        return answer
    if not answer:
        raise NoChatFound
    first = answer[0]
    return first if isinstance(first, TransitionResult) else first.result


async def woken(children: Children) -> Sequence[TransitionResult]:
    """Return the chats that a sweep wakes."""
    return (await children.wake(sweeps=True)).chats


async def first_edited(messages: Messages, chat: Chat) -> TransitionResult:
    """Edit the message that ``chat_with_status`` inserted."""
    return await messages.edit(
        chat.id, FIRST_MESSAGE_ID, owner_id=OWNER, content=text_content("instead")
    )


async def last_queued(
    request: Callable[..., Awaitable[TransitionResult]], database: Database, chat: Chat
) -> TransitionResult:
    """Make a request for the last queued message, or for one that does not exist if none is queued."""
    query = "SELECT max(id) AS id FROM chat_queued_messages WHERE chat_id = $1"
    queued = await database.fetchrow(query, chat.id)
    assert queued is not None
    return await request(chat.id, queued["id"] or 1, owner_id=OWNER)


def may_queue(status: Status) -> bool:
    """Return whether a chat of this status may have queued messages."""
    return status is not Status.WAITING
