"""The common end of a turn leaves every table as the statement for all ends would."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import pytest
from support.factories import (
    MODEL,
    OTHER_MODEL,
    OWNER,
    WORKER,
    chat_with_status,
    insert_chat,
    insert_models,
    text_content,
)
from support.stored_tables import empty_tables, plainly, stored_tables

from chatd.domain.chat import Status, Usage
from chatd.domain.errors import LeaseLost
from chatd.domain.files import new_file
from chatd.domain.message import NewMessage, Role, Visibility
from chatd.store.commands import FinishTurn
from chatd.store.commits import CommitListener
from chatd.store.database import Database
from chatd.store.limits import ChatLimits
from chatd.store.turns import FencingToken, Turns

FILE = new_file(b"bytes", media_type="text/plain", name="a.txt")
ANSWER = NewMessage(
    role=Role.ASSISTANT,
    content=text_content("an answer"),
    model_config_id=MODEL,
    usage=Usage(1, 2, 3, 4, 5),
    finish_reason="stop",
)


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    status: Status = Status.RUNNING
    queued: int = 0
    columns: Mapping[str, Any] = field(default_factory=dict)
    messages: Sequence[NewMessage] = (ANSWER,)
    limits: ChatLimits = field(default_factory=ChatLimits)
    held: bool = False
    """Another chat of the owner is held."""


CASES = [
    *(Case(name=status.value, status=status) for status in Status),
    Case(name="queue", queued=2),
    Case(name="no message", messages=()),
    Case(
        name="messages with a file",
        messages=(
            NewMessage(role=Role.TOOL, content=({"type": "text", "text": "a\x00"},)),
            NewMessage(
                role=Role.ASSISTANT,
                content=(FILE.reference(),),
                files=(FILE,),
                visibility=Visibility.MODEL,
            ),
        ),
    ),
    Case(
        name="counters",
        columns={
            "recoveries": 2,
            "attempts": 1,
            "next_attempt_at": "now",
            "turn_deadline_at": "now",
            "settled_part": 9,
            "input_tokens": 100,
            "stored_bytes": 1000,
            "version": 30,
            "last_model_config_id": OTHER_MODEL,
        },
    ),
    Case(name="another step", columns={"committed_steps": 1}),
    Case(name="another epoch", columns={"epoch": 2}),
    Case(name="a held chat", held=True, limits=ChatLimits(max_running_per_owner=1)),
    Case(name="a held chat, and no limit now", held=True),
]


async def finish(database: Database, case: Case) -> list[Any]:
    """Finish the turn of the case. Return the result, what was published, and all that is stored."""
    await empty_tables(database)
    if case.held:
        await insert_chat(
            database,
            id=MODEL,
            root_chat_id=MODEL,
            status="pending",
            pending_since="now",
            held=True,
            owner_id=OWNER,
        )
    chat = await chat_with_status(database, case.status, queued=case.queued, **case.columns)
    await database.fetch(
        "INSERT INTO chat_parts (chat_id, epoch, first_part, last_part, parts)"
        " VALUES ($1, 1, 1, 1, '[{}]')",
        chat.id,
    )
    published: list[Any] = []
    listener = CommitListener(
        on_commit=lambda entries, _: published.extend(entries),
        on_admit=lambda *admitted: published.append(admitted),
    )
    turns = Turns(database, limits=lambda: case.limits, listener=listener)
    command = FinishTurn(step=0, messages=case.messages, settled_part=7)
    try:
        result: Any = await turns.apply(FencingToken(chat.id, WORKER, 1), command)
    except LeaseLost:
        result = LeaseLost
    return [plainly(chat.id)(each) for each in (result, published, await stored_tables(database))]


async def test_both_statements_end_a_turn_alike(
    database: Database, subtests: pytest.Subtests
) -> None:
    await insert_models(database)
    for case in CASES:
        common = await finish(database, case)
        with patch.object(FinishTurn, "ends_with_others", False):
            general = await finish(database, case)
        with subtests.test(case=case.name):
            assert common == general


async def test_common_end_takes_one_statement(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING)
    statements = database.statement_count
    command = FinishTurn(step=0, messages=[ANSWER], settled_part=7)
    result = await Turns(database).apply(FencingToken(chat.id, WORKER, 1), command)
    assert result.chat.status is Status.WAITING
    assert database.statement_count == statements + 1
