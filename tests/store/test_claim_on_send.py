"""Claim on send: one statement leaves every table as a transition and ``claim`` would, or as it alone.

Each case is made twice in a database that is empty otherwise, once by each way, and everything that is
stored is compared, but for ids and times.
"""

import asyncio
from dataclasses import replace
from uuid import UUID

import pytest
from support.claim_on_send import Case, Way, make_chat
from support.claim_on_send_cases import (
    BY_STATUS,
    CLAIMABLE_STATUSES,
    KEY,
    NEW_CHATS,
    OTHERS,
    transition_cases,
)
from support.eventually import eventually
from support.factories import (
    MODEL,
    OWNER,
    WORKER,
    chat_with_status,
    columns_for,
    insert_chat,
    insert_models,
    text_content,
)
from support.stored_tables import empty_tables, plainly

from chatd.domain.chat import Status
from chatd.domain.files import new_file
from chatd.domain.message import NewMessage, Role
from chatd.domain.transitions import Transition
from chatd.store.claims import Claims
from chatd.store.commands import FinishTurn
from chatd.store.database import Database
from chatd.store.group_commit import MAX_TEXT_LENGTH
from chatd.store.idempotency import IdempotencyKey
from chatd.store.records import TransitionResult
from chatd.store.slots import Reservation, Slot
from chatd.store.turns import FencingToken, Turns


async def make_running_chats(database: Database, number: int) -> None:
    for n in range(1, number + 1):
        await insert_chat(
            database,
            id=UUID(int=n),
            root_chat_id=UUID(int=n),
            **columns_for(Status.RUNNING),
        )


@pytest.mark.parametrize(
    "cases",
    [BY_STATUS, OTHERS, NEW_CHATS, *map(transition_cases, CLAIMABLE_STATUSES)],
    ids=["by status", "others", "new chats", *CLAIMABLE_STATUSES],
)
async def test_one_statement_does_what_two_do(
    database: Database, subtests: pytest.Subtests, cases: list[Case]
) -> None:
    await insert_models(database)
    for case in cases:
        outcomes = []
        for claim_on_send in (False, True):
            await empty_tables(database)
            await make_running_chats(database, case.running)
            outcomes.append(await Way(database, case).run(claim_on_send=claim_on_send))
        apart, together = outcomes
        with subtests.test(case=case.name):
            assert together.result == apart.result
            assert together.stored == apart.stored
            assert together.published == apart.published
            assert together.replayed == apart.replayed
            assert len(apart.claims) == len(together.claims) == case.claims
            for one, other in zip(apart.claims, together.claims, strict=True):
                same = plainly(one.result.chat.id)(one.result.chat)
                assert plainly(other.result.chat.id)(other.result.chat) == same
                assert one.turn_seconds_left is other.turn_seconds_left is None


async def test_history_of_the_claim_is_the_one_that_is_stored(database: Database) -> None:
    """It is known of a new chat, and of one whose history was kept at the version before."""
    case = Case(name="history", claims=True)
    way = Way(database, case)
    chats, turns = way.chats(claim_on_send=True), Turns(database, histories=way.histories)
    await insert_models(database)
    chat = (
        await chats.create(
            owner_id=OWNER,
            model_config_id=MODEL,
            content=text_content("hello"),
            system_prompt="be brief",
            tools=[{"name": "clock", "description": "", "parameters": {}}],
        )
    ).chat
    [claim] = way.claims
    assert claim.history == await turns.history(chat.id)
    fence = FencingToken(chat.id, WORKER, 1)
    answer = NewMessage(role=Role.ASSISTANT, content=text_content("well"))
    finish = FinishTurn(step=0, messages=[answer], settled_part=0)
    result = await turns.apply(fence, finish)
    assert claim.history is not None
    turns.keep_history(result.chat, claim.history.with_messages(result.model_messages))
    await chats.send(chat.id, owner_id=OWNER, content=text_content("again"))
    assert way.claims[1].history == await turns.history(chat.id)
    assert len(way.claims[1].history.messages) == 4
    assert way.histories.size == 0, "it is the task's now"
    result = await turns.apply(replace(fence, epoch=2), replace(finish, step=1))
    turns.keep_history(result.chat, way.claims[1].history.with_messages(result.model_messages))
    await chats.describe(chat.id, owner_id=OWNER, title="another version")
    await chats.send(chat.id, owner_id=OWNER, content=text_content("more"))
    assert way.claims[2].history is None, "it may have changed"


async def test_history_of_a_new_chat_without_a_message_is_known(database: Database) -> None:
    """A repeated request keeps none: the chat may have changed since."""
    way = Way(database, Case(name="history", claims=True))
    chats = way.chats(claim_on_send=True)
    await insert_models(database)

    async def create(key: IdempotencyKey | None) -> TransitionResult:
        return await chats.create(
            owner_id=OWNER,
            model_config_id=MODEL,
            system_prompt="be brief",
            tools=[{"name": "clock", "description": "", "parameters": {}}],
            key=key,
        )

    for key in (None, KEY):
        chat = (await create(key)).chat
        await chats.send(chat.id, owner_id=OWNER, content=text_content("hello"))
        assert way.claims[-1].history == await Turns(database).history(chat.id)
        assert way.histories.size == 0
    assert (await create(KEY)).replayed
    assert way.histories.size == 0


@pytest.mark.parametrize("transition", CLAIMABLE_STATUSES)
async def test_history_before_the_transition_is_known(
    database: Database, transition: Transition
) -> None:
    """Known or read, the history of the claim is the one that is stored."""
    case = replace(transition_cases(transition)[0], status=CLAIMABLE_STATUSES[transition][0])
    chat = await make_chat(database, case)
    for number in range(2, 4):
        await database.fetch(
            "INSERT INTO chat_messages (chat_id, id, version, role, content)"
            " VALUES ($1, $2, 1, 'user', $3)",
            chat.id,
            1_000_000 + number * 10,
            text_content(str(number)),
        )
    way = Way(
        database,
        replace(case, request={"message_id": 1_000_020} if transition is Transition.EDIT else {}),
    )
    turns = Turns(database, histories=way.histories)
    turns.keep_history(chat, await turns.history(chat.id))
    await way.request(chat, claim_on_send=True)()
    [claim] = way.claims
    assert claim.history == await turns.history(chat.id)
    assert claim.history is not None
    assert claim.history.messages[0].content == text_content("hello")


@pytest.mark.parametrize("transition", CLAIMABLE_STATUSES)
async def test_chat_that_only_the_claim_refuses_becomes_pending(
    database: Database, transition: Transition
) -> None:
    """The claimer contains it, as any chat in the line."""
    case = replace(transition_cases(transition)[0], status=CLAIMABLE_STATUSES[transition][0])
    chat = await make_chat(database, case)
    way = Way(database, case)
    await database.fetch("ALTER TABLE chats ADD CHECK (status <> 'running') NOT VALID")
    result = await way.request(chat, claim_on_send=True)()
    assert (result.chat.status, result.chat.version) == (Status.PENDING, 2)
    assert way.claims == []


@pytest.mark.parametrize("transition", CLAIMABLE_STATUSES)
async def test_chat_that_claims_leave_out_becomes_pending(
    database: Database, monkeypatch: pytest.MonkeyPatch, transition: Transition
) -> None:
    """Its data made a claim fail, so it stays cut until an operator has mended it."""
    case = replace(transition_cases(transition)[0], status=CLAIMABLE_STATUSES[transition][0])
    chat = await make_chat(database, case)
    way = Way(database, case)
    monkeypatch.setattr(Claims, "is_cut", lambda _, chat_id: chat_id == chat.id)
    result = await way.request(chat, claim_on_send=True)()
    assert (result.chat.status, result.chat.version) == (Status.PENDING, 2)
    assert way.claims == []


async def test_chat_that_is_locked_is_not_waited_for(database: Database) -> None:
    """Whoever has it is about to change it, so the ordinary statement waits and decides."""
    case = Case(name="locked", claims=False)
    chat = await chat_with_status(database, case.status)
    way = Way(database, case)
    async with database.dedicated_connection() as other:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("UPDATE chats SET version = version + 1")
        statements = database.statement_count
        sending = asyncio.create_task(
            way.chats(claim_on_send=True).send(
                chat.id, owner_id=OWNER, content=text_content("more")
            )
        )
        await eventually(lambda: database.statement_count == statements + 2)
        await transaction.commit()
    result = await sending
    assert way.claims == []
    assert (result.chat.status, result.chat.version) == ("pending", 3)


async def test_many_messages_to_one_chat_are_each_stored_once(database: Database) -> None:
    """One of them claims the chat. The others find it locked, newer than they saw it, or running."""
    case = Case(name="race", claims=False)
    chat = await chat_with_status(database, case.status)
    way = Way(database, case)
    chats = way.chats(claim_on_send=True)
    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(
                chats.send(chat.id, owner_id=OWNER, content=text_content(str(number)))
            )
    versions = await database.fetch("SELECT version, transition FROM chat_events ORDER BY version")
    assert [row["version"] for row in versions] == list(range(2, 2 + len(versions)))
    stored = await database.fetch(
        "SELECT content FROM chat_messages WHERE version > 1"
        " UNION ALL SELECT content FROM chat_queued_messages"
    )
    texts = sorted(int(row["content"][0]["text"]) for row in stored)
    assert texts == list(range(20))
    assert len(way.claims) <= 1


async def idle_chats(database: Database, number: int) -> list[UUID]:
    return [(await chat_with_status(database, Status.WAITING)).id for _ in range(number)]


async def test_messages_with_files_keep_their_own(database: Database) -> None:
    """They come at the same time, and a statement has the files of one message."""
    way = Way(database, Case(name="files", claims=True))
    chats, chat_ids = way.chats(claim_on_send=True), await idle_chats(database, 3)
    files = [new_file(bytes([n]) * 10, media_type="image/png") for n in range(3)]
    async with asyncio.TaskGroup() as group:
        for chat_id, file in zip(chat_ids, files, strict=True):
            content = (file.reference(),)
            group.create_task(chats.send(chat_id, owner_id=OWNER, content=content, files=[file]))
    rows = await database.fetch("SELECT chat_id, id, data FROM chat_files")
    assert {row["chat_id"]: (row["id"], row["data"]) for row in rows} == {
        chat_id: (file.id, file.data) for chat_id, file in zip(chat_ids, files, strict=True)
    }
    assert len(way.claims) == 3


async def test_large_message_holds_up_no_other(database: Database) -> None:
    """It goes by a statement of its own, and those that come with it share one."""
    way = Way(database, Case(name="large", claims=True))
    chats, chat_ids = way.chats(claim_on_send=True), await idle_chats(database, 4)
    statements = database.statement_count
    async with asyncio.TaskGroup() as group:
        for number, chat_id in enumerate(chat_ids):
            content = text_content("x" * (2 * MAX_TEXT_LENGTH if number == 1 else 1))
            group.create_task(chats.send(chat_id, owner_id=OWNER, content=content))
    assert database.statement_count == statements + 2
    assert len(way.claims) == 4


async def test_round_advances_if_one_of_several_messages_is_to_advance_it(
    database: Database,
) -> None:
    way = Way(database, Case(name="rounds", claims=True))
    advances = iter([False, True, False])

    def reserve(_: UUID | None) -> Reservation:
        slot = Slot(models=way.case.models, advance=next(advances), start=way.claims.append)
        return Reservation(slot)

    way._reserve = reserve  # type: ignore[method-assign]
    chats, chat_ids = way.chats(claim_on_send=True), await idle_chats(database, 3)
    [before] = await database.fetch("SELECT last_value FROM chat_claimed_round")
    statements = database.statement_count
    async with asyncio.TaskGroup() as group:
        for chat_id in chat_ids:
            group.create_task(chats.send(chat_id, owner_id=OWNER, content=text_content("more")))
    assert database.statement_count == statements + 1
    [after] = await database.fetch("SELECT last_value FROM chat_claimed_round")
    assert after["last_value"] > before["last_value"]
