"""Journal entries: the one that a transition returns is the one that every replica reads."""

import pytest
from support.factories import chat_with_status, insert_tool_calls, text_content
from support.leases import fencing_token_of
from support.transitions import STARTED_CALL_ID, make_transition, may_queue

from chatd.domain.chat import IDLE, BusyBehavior, Status
from chatd.domain.cursor import Cursor
from chatd.domain.message import NewMessage, Role, Visibility
from chatd.domain.transitions import TABLE, Transition
from chatd.store.commands import CommitStep
from chatd.store.database import Database
from chatd.store.reads import ChatReader
from chatd.store.stream_reads import StreamStore
from chatd.store.turns import Turns

ANSWER = NewMessage(role=Role.ASSISTANT, content=text_content("an answer"))

JOURNALED_CELLS = [
    pytest.param(transition, busy, status, id=f"{transition}-{busy}-{status}")
    for (transition, busy), cells in TABLE.items()
    for status, cell in cells.items()
    if status is not None and cell.journaled
]


@pytest.mark.parametrize(("transition", "busy", "status"), JOURNALED_CELLS)
async def test_every_replica_reads_the_same_entry(
    database: Database, transition: Transition, busy: BusyBehavior | None, status: Status
) -> None:
    """Local streams get the entry that the transition returned, others read it from the journal."""
    archived = transition is Transition.UNARCHIVE and status in IDLE
    queued = 2 if may_queue(status) and not archived else 0
    chat = await chat_with_status(database, status, queued=queued, archived=archived)
    if transition is Transition.CLOSE_CALLS:
        await insert_tool_calls(database, chat.id, STARTED_CALL_ID, state="started")
    result = await make_transition(database, transition, busy, chat)
    (update,) = await StreamStore(database).updates_since([(chat.id, Cursor(1))])
    assert update.entries == (result.entry,)
    assert (update.version, update.epoch, update.settled_part) == (
        result.chat.version,
        result.chat.epoch,
        result.chat.settled_part,
    )
    (entry,) = await ChatReader(database).journal_entries(chat.id, after=1, limit=10)
    assert result.entry is not None
    assert entry.data == result.entry.data


async def test_model_only_message_is_in_no_entry(database: Database) -> None:
    chat = await chat_with_status(database, Status.RUNNING)
    summary = NewMessage(role=Role.USER, content=text_content("psst"), visibility=Visibility.MODEL)
    result = await Turns(database).apply(
        fencing_token_of(chat), CommitStep(step=0, messages=[summary, ANSWER], settled_part=0)
    )
    (update,) = await StreamStore(database).updates_since([(chat.id, Cursor(1))])
    assert update.entries == (result.entry,)
    assert [message.content for message in update.entries[0].messages] == [ANSWER.content]


STEP_ENDS = [
    Transition.COMMIT_STEP,
    Transition.RECORD_RETRY,
    Transition.FINISH_TURN,
    Transition.FINISH_INTERRUPT,
    Transition.FAIL,
    Transition.RELEASE,
    Transition.REAP,
    Transition.REAP_INTERRUPT,
]


@pytest.mark.parametrize("settled_part", [0, 6, 7, 30])
@pytest.mark.parametrize("transition", STEP_ENDS)
async def test_every_end_of_a_step_raises_settled_part(
    database: Database, transition: Transition, settled_part: int
) -> None:
    """Parts of the next attempt cannot be taken for parts of this one."""
    status = Status.INTERRUPTING if "interrupt" in transition else Status.RUNNING
    chat = await chat_with_status(database, status, settled_part=settled_part, queued=1)
    result = await make_transition(database, transition, None, chat)
    assert result.chat.settled_part > settled_part
    assert result.entry is not None
    assert result.entry.data["settled_part"] == result.chat.settled_part
