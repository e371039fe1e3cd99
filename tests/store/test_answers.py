"""Answers to calls that are asked: some or all, once, whoever answers at the same time."""

import asyncio
from typing import Any

import pytest
from support.concurrency import WAIT_SECONDS, gather_all, row_locked, wait_until_blocked
from support.factories import OWNER, WORKER, chat_with_status, insert_tool_calls, stored_rows
from support.tool_results import stored_tool_calls, tool_results

from chatd.domain.answer import Answer, Approval, Decision, Input
from chatd.domain.chat import BusyBehavior, Chat, Status
from chatd.domain.errors import (
    AlreadyAnswered,
    AnswerMismatch,
    ChatFull,
    LeaseLost,
    NoActionRequired,
    Refused,
    ToolCallUnknown,
)
from chatd.domain.message import NewMessage, Role
from chatd.domain.permission import Permission
from chatd.domain.question import CLIENT_RUNS, MAY_RUN, Question, QuestionKind
from chatd.domain.tool_call import CallState, Executor, NewToolCall
from chatd.store.chats import Chats
from chatd.store.commands import CloseCalls, RequireAction
from chatd.store.database import Database
from chatd.store.limits import ChatLimits
from chatd.store.records import TransitionResult
from chatd.store.tool_calls import ToolCalls
from chatd.store.turns import FencingToken, Turns

TIMEOUTS = {"result": 10.0, "approval": 60.0, "input": 30.0}
INPUT = Question(kind=QuestionKind.INPUT, message="Which?", schema={"type": "object"})
ASKED = {"a": MAY_RUN, "r": CLIENT_RUNS, "i": INPUT, "b": MAY_RUN}


async def asking_chat(database: Database, **timeouts: float) -> Chat:
    """Return a chat that asks about the calls of ``ASKED``."""
    chat = await chat_with_status(database, Status.RUNNING)
    parts = [
        {"type": "tool-call", "tool_call_id": call_id, "tool_name": f"tool_{call_id}", "args": "{}"}
        for call_id in ASKED
    ]
    command = RequireAction(
        step=0,
        messages=[NewMessage(role=Role.ASSISTANT, content=tuple(parts))],
        settled_part=1,
        calls=[
            NewToolCall(
                part=part,
                message_id=None,
                state=CallState.ASKED,
                executor=Executor.CLIENT if question is CLIENT_RUNS else Executor.SERVER,
                question=question,
            )
            for part, question in zip(parts, ASKED.values(), strict=True)
        ],
        timeouts=TIMEOUTS | timeouts,
    )
    return (await Turns(database).apply(FencingToken(chat.id, WORKER, chat.epoch), command)).chat


def allow(call_id: str = "a", **more: Any) -> Approval:
    return Approval(tool_call_id=call_id, allowed=True, **more)


def deny(call_id: str = "a", **more: Any) -> Approval:
    return Approval(tool_call_id=call_id, allowed=False, **more)


def accept(content: Any = "red") -> Input:
    return Input(tool_call_id="i", decision=Decision.ACCEPT, content=content)


async def answer(database: Database, chat: Chat, *answers: Answer) -> TransitionResult:
    return await ToolCalls(database).answer(chat.id, owner_id=OWNER, answers=answers)


async def test_each_kind_has_its_own_deadline(database: Database) -> None:
    chat = await asking_chat(database)
    row, _, ledger = await stored_tool_calls(database, chat.id)
    seconds = {
        each["tool_call_id"]: (each["expires_at"] - row["action_deadline"]).total_seconds()
        for each in ledger
    }
    assert seconds == {"a": 50.0, "r": 0.0, "i": 20.0, "b": 50.0}


async def test_chat_goes_on_when_the_last_call_is_answered(database: Database) -> None:
    chat = await asking_chat(database)
    first = await answer(database, chat, *tool_results("r"))
    assert first.chat.status is Status.REQUIRES_ACTION
    assert first.chat.action_deadline is not None
    assert chat.action_deadline is not None
    assert (first.chat.action_deadline - chat.action_deadline).total_seconds() == 20.0
    assert first.messages == ()
    second = await answer(database, chat, accept(), allow("b", args={"x": 1}))
    assert second.entry is not None
    assert second.entry.data["open"] == ["a"]
    last = await answer(database, chat, deny("a"))
    assert (last.chat.status, last.chat.action_deadline) == (Status.PENDING, None)
    assert last.messages == (), "b has no result yet"
    _, _, ledger = await stored_tool_calls(database, chat.id)
    assert {row["tool_call_id"]: row["state"] for row in ledger} == {
        "a": "closed",
        "r": "closed",
        "i": "closed",
        "b": "ready",
    }
    assert last.ledger is not None
    assert [(call.id, call.args) for call in last.ledger] == [("b", {"x": 1})]


async def test_answers_without_a_call_to_run_are_stored_as_one_message(database: Database) -> None:
    chat = await asking_chat(database)
    answers = [deny("b"), accept(), *tool_results("r"), deny("a", reason="no")]
    result = await answer(database, chat, *answers)
    [message] = result.messages
    assert [(part["tool_call_id"], part["result"]) for part in message.content] == [
        ("a", "The user did not allow this call: no"),
        ("r", {"of": "r"}),
        ("i", "red"),
        ("b", "The user did not allow this call."),
    ]


async def test_results_of_the_client_leave_what_is_asked_of_people(database: Database) -> None:
    chat = await asking_chat(database)
    calls = ToolCalls(database)
    submitted = await calls.submit(chat.id, owner_id=OWNER, results=tool_results("r"))
    assert submitted.chat.status is Status.REQUIRES_ACTION
    with pytest.raises(ToolCallUnknown):
        await calls.submit(chat.id, owner_id=OWNER, results=tool_results("r"))
    await stored_tool_calls(database, chat.id)


@pytest.mark.parametrize("again", ["asking", "pending", "idle"])
async def test_same_answer_again_changes_nothing(database: Database, again: str) -> None:
    chat = await asking_chat(database)
    answers = [deny("a", reason="no"), *tool_results("r"), accept({"n": 1}), deny("b")]
    await answer(database, chat, *answers[:3])
    if again != "asking":
        await answer(database, chat, answers[3])
    if again == "idle":
        await Chats(database).interrupt(chat.id, owner_id=OWNER)
    before = await stored_rows(database, chat)
    repeated = await answer(database, chat, *answers[:3])
    assert repeated.entry is None
    assert await stored_rows(database, chat) == before
    for other in (
        allow("a"),
        deny("a"),
        tool_results("r")[0].__class__(tool_call_id="r", result=8),
        accept({"n": 2}),
        Input(tool_call_id="i", decision=Decision.CANCEL),
    ):
        with pytest.raises(AlreadyAnswered) as refusal:
            await answer(database, chat, other)
        [stands] = refusal.value.context["decisions"]
        decided = {"a": "deny", "r": "result", "i": "accept"}[stands["tool_call_id"]]
        assert stands["decision"] == decided
    assert await stored_rows(database, chat) == before


@pytest.mark.parametrize(
    ("answers", "refusal"),
    [
        ([allow("a"), allow("z")], ToolCallUnknown),
        ([allow("a"), deny("a")], ToolCallUnknown),
        ([allow("a"), allow("r")], AnswerMismatch),
        ([allow("a"), *tool_results("i")], AnswerMismatch),
    ],
)
async def test_unfit_answer_refuses_the_whole_request(
    database: Database, answers: list[Answer], refusal: type[Refused]
) -> None:
    chat = await asking_chat(database)
    before = await stored_rows(database, chat)
    with pytest.raises(refusal):
        await answer(database, chat, *answers)
    assert await stored_rows(database, chat) == before


async def test_call_is_not_asked_while_the_chat_runs(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING)
    await insert_tool_calls(database, chat.id, "a", kind="approval")
    before = await stored_rows(database, chat)
    with pytest.raises(NoActionRequired):
        await answer(database, chat, allow("a"))
    assert await stored_rows(database, chat) == before


async def test_answers_count_against_the_size_of_the_chat(database: Database) -> None:
    chat = await asking_chat(database)
    calls = ToolCalls(database, limits=lambda: ChatLimits(max_chat_bytes=1000))
    with pytest.raises(ChatFull):
        await calls.answer(chat.id, owner_id=OWNER, answers=[accept("x" * 5000)])


async def test_last_of_two_answers_at_once_is_told_the_first(wide: Database) -> None:
    chat = await asking_chat(wide)
    async with row_locked(wide, chat) as other:
        late = asyncio.create_task(answer(wide, chat, deny("a")))
        await wait_until_blocked(other)
        await other.execute(
            "UPDATE chat_tool_calls SET state = 'ready', decision = '{\"decision\": \"allow\"}'"
            " WHERE chat_id = $1 AND tool_call_id = 'a'",
            chat.id,
        )
        await other.execute("UPDATE chats SET version = version + 1 WHERE id = $1", chat.id)
    async with asyncio.timeout(WAIT_SECONDS):
        with pytest.raises(AlreadyAnswered, match=r"They are: a\.$"):
            await late


async def test_allowed_call_starts_once_and_never_after_an_interrupt(wide: Database) -> None:
    """The start locks the chat, so whichever commits first wins."""
    for _ in range(10):
        chat = await chat_with_status(wide, Status.RUNNING, epoch=3)
        await insert_tool_calls(wide, chat.id, "a", state="ready")
        fence = FencingToken(chat.id, WORKER, 3)

        async def start(fence: FencingToken = fence) -> bool:
            try:
                command = CloseCalls(step=0, results=[], start_ids=["a"], settled_part=0)
                return (await Turns(wide).apply(fence, command)).entry is not None
            except LeaseLost:
                return False

        async def stop(chat: Chat = chat) -> bool:
            await Chats(wide).send(
                chat.id,
                owner_id=OWNER,
                content=({"type": "text", "text": "stop"},),
                busy_behavior=BusyBehavior.INTERRUPT,
            )
            return False

        starts = await gather_all(start(), start(), stop())
        assert sum(starts) <= 1
        [row] = await wide.fetch("SELECT * FROM chat_tool_calls WHERE chat_id = $1", chat.id)
        assert row["tries"] == sum(starts)
        await wide.fetch("DELETE FROM chats WHERE id = $1", chat.id)


async def test_remembered_decisions_are_bounded(database: Database) -> None:
    chat = await asking_chat(database)
    first = await answer(database, chat, allow("a", remember=True))
    assert first.chat.permissions.remembered == {"tool_a": Permission.ALLOW}
    await database.fetch(
        "UPDATE chats SET permissions = jsonb_build_object('remembered',"
        " (SELECT jsonb_object_agg(n, 'allow') FROM generate_series(1, 200) n))"
    )
    second = await answer(database, chat, deny("b", remember=True))
    assert len(second.chat.permissions.remembered) == 200


async def test_only_what_is_over_expires(database: Database) -> None:
    chat = await asking_chat(database, result=-1.0)
    [expired] = await ToolCalls(database).expire()
    assert expired.chat.status is Status.REQUIRES_ACTION
    assert expired.entry is not None
    assert expired.entry.data["answered"] == [
        {"tool_call_id": "r", "tool_name": "tool_r", "decision": "expired"}
    ]
    assert expired.entry.data["open"] == ["a", "i", "b"]
    assert await ToolCalls(database).expire() == []
    await stored_tool_calls(database, chat.id)
    await database.fetch(
        "UPDATE chat_tool_calls SET expires_at = clock_timestamp() WHERE state = 'asked'"
    )
    await database.fetch("UPDATE chats SET action_deadline = clock_timestamp()")
    [last] = await ToolCalls(database).expire()
    assert last.chat.status is Status.PENDING
    [message] = last.messages
    assert [part["result"] for part in message.content] == [
        "Nobody answered in time, so this did not run.",
        "timed out",
        "Nobody answered in time.",
        "Nobody answered in time, so this did not run.",
    ]


async def test_allowed_call_waits_for_others_that_expire(database: Database) -> None:
    chat = await asking_chat(database, result=-1.0, input=-1.0)
    await answer(database, chat, allow("a"), deny("b"))
    [expired] = await ToolCalls(database).expire()
    assert (expired.chat.status, expired.messages) == (Status.PENDING, ())
    await stored_tool_calls(database, chat.id)
