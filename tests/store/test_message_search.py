"""Search in messages: what is indexed, what is found, and what no search shows."""

from typing import Any
from uuid import UUID

import pytest
from support.factories import MODEL, OWNER, insert_chat, insert_models, text_content
from support.stored_messages import insert_message

from chatd.domain.chat import Chat, Status
from chatd.domain.errors import DatabaseUnsuitable
from chatd.domain.match import Match
from chatd.domain.message import NewMessage, Role, Visibility
from chatd.store.chat_lists import ChatFilter
from chatd.store.chats import Chats
from chatd.store.database import Database
from chatd.store.message_search import MessageSearch
from chatd.store.messages import Messages

EVERYTHING = ChatFilter()


async def new_chat(database: Database, text: str, *, owner_id: str = OWNER) -> Chat:
    await insert_models(database)
    created = await Chats(database).create(
        owner_id=owner_id, model_config_id=MODEL, content=text_content(text)
    )
    return created.chat


async def index(database: Database, *chats: Chat, config: str = "simple", limit: int = 500) -> Any:
    ids = [chat.id for chat in chats]
    return await MessageSearch(database, config=config).index(ids, limit=limit)


async def find(
    database: Database,
    words: str,
    *,
    owner_id: str = OWNER,
    config: str = "simple",
    chat_filter: ChatFilter = EVERYTHING,
    **more: Any,
) -> list[Match]:
    search = MessageSearch(database, config=config)
    return await search.page(words, owner_id=owner_id, chat_filter=chat_filter, **more)


async def found_ids(database: Database, words: str, **more: Any) -> list[UUID]:
    return [match.chat.id for match in await find(database, words, **more)]


def marked(match: Match) -> str:
    return "".join(f"[{each.text}]" if each.matches else each.text for each in match.excerpt)


async def test_newest_matching_message_is_found_with_an_excerpt(database: Database) -> None:
    chat = await new_chat(database, "Why is the sky blue?")
    answer = await insert_message(database, chat, "assistant", "The Sky scatters\nblue light.")
    await insert_message(database, chat, "assistant", "Of the sea I know nothing.")
    assert await find(database, "sky") == [], "it is not indexed yet"
    await index(database, chat)
    [match] = await find(database, "sky blue")
    assert (match.chat.id, match.message_id, match.role) == (chat.id, answer, Role.ASSISTANT)
    assert marked(match) == "The [Sky] scatters\n[blue] light."


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("sky", True),
        ("SKY", True),
        ("sky sea", False),
        ("sky OR sea", True),
        ('"the sky"', True),
        ('"sky the"', False),
        ("sky -blue", False),
        ("sky -sea", True),
        ("sk", False),
        ("-sea", False),
        ('"', False),
        ("& | ! ( ) :* <->", False),
        ("sky & | ! (", True),
        ("\\' sky", True),
        ("x" * 400, False),
        ("owner", False),
    ],
)
async def test_language_of_search_engines(database: Database, words: str, found: bool) -> None:
    chat = await new_chat(database, "Why is the sky blue?")
    await index(database, chat)
    assert await found_ids(database, words) == [chat.id] * found


async def test_configuration_of_a_language_finds_other_forms(database: Database) -> None:
    chat = await new_chat(database, "the mice were running")
    await index(database, chat, config="english")
    assert await found_ids(database, "run", config="english") == [chat.id]
    assert await found_ids(database, "the", config="english") == [], "a stop word only"
    await MessageSearch(database, config="english").check()
    with pytest.raises(DatabaseUnsuitable, match="klingon"):
        await MessageSearch(database, config="klingon").check()


async def test_no_search_crosses_an_owner(database: Database) -> None:
    """Not even by words that look like those of another owner in the index."""
    word = await database.fetch("SELECT chat_owner_word('bob') AS word")
    mine = await new_chat(database, f"secret {word[0]['word']} '{word[0]['word']}'")
    theirs = await new_chat(database, "secret", owner_id="bob")
    await index(database, mine, theirs)
    assert await found_ids(database, "secret") == [mine.id]
    assert await found_ids(database, "secret", owner_id="bob") == [theirs.id]
    assert await found_ids(database, f"secret OR {word[0]['word']}", owner_id="eve") == []


async def test_only_text_that_people_see_is_indexed(database: Database) -> None:
    await insert_models(database)
    chat = await insert_chat(database)
    for role, visibility in (
        (Role.SYSTEM, Visibility.BOTH),
        (Role.TOOL, Visibility.BOTH),
        (Role.USER, Visibility.MODEL),
        (Role.ASSISTANT, Visibility.USER),
    ):
        message = NewMessage(role=role, content=text_content("needle"), visibility=visibility)
        await database.fetch(
            "INSERT INTO chat_messages (chat_id, id, version, role, content, visibility)"
            " SELECT $1, COALESCE(max(id), chat_message_id(1, 0)) + 1, 1, $2, $3, $4"
            " FROM chat_messages WHERE chat_id = $1",
            chat.id,
            message.role.value,
            [
                {"type": "reasoning", "text": "pondering"},
                *message.content,
                {"type": "tool-call", "tool_call_id": "c", "tool_name": "t", "args": "argument"},
            ],
            message.visibility.value,
        )
    await index(database, chat)
    [match] = await find(database, "needle")
    assert match.role is Role.ASSISTANT
    assert await database.fetch("SELECT message_id FROM chat_message_words")
    assert len(await database.fetch("SELECT FROM chat_message_words")) == 1
    assert await find(database, "pondering OR argument") == []


async def test_edited_and_deleted_messages_are_not_found_at_once(database: Database) -> None:
    chat = await new_chat(database, "the needle")
    other = await new_chat(database, "another needle")
    [first] = await database.fetch("SELECT id FROM chat_messages WHERE chat_id = $1", chat.id)
    await index(database, chat, other)
    await Messages(database).edit(
        chat.id, first["id"], owner_id=OWNER, content=text_content("the thread")
    )
    assert await found_ids(database, "needle") == [other.id]
    await index(database, chat)
    assert await found_ids(database, "thread") == [chat.id]
    await Chats(database).delete(other.id, owner_id=OWNER)
    assert await found_ids(database, "needle") == []
    left = await database.fetch("SELECT DISTINCT chat_id FROM chat_message_words")
    assert [row["chat_id"] for row in left] == [chat.id]
    assert len(await database.fetch("SELECT FROM chat_search_positions")) == 1


async def test_fork_is_indexed(database: Database) -> None:
    chat = await new_chat(database, "the needle")
    fork = (await Chats(database).fork(chat.id, owner_id=OWNER)).chat
    await index(database, fork)
    assert await found_ids(database, "needle") == [fork.id]


async def test_batches_go_on_where_they_ended(database: Database) -> None:
    chats = [await new_chat(database, f"needle {n}") for n in range(3)]
    for chat in chats:
        for n in range(4):
            await insert_message(database, chat, "assistant", f"needle {n}")
    remaining, sizes = {chat.id for chat in chats}, []
    search = MessageSearch(database)
    while remaining:
        batch = await search.index(sorted(remaining), limit=4)
        assert set(batch.unfinished) <= remaining
        remaining = set(batch.unfinished)
        sizes.append(batch.messages)
    assert sum(sizes) == 15
    assert max(sizes) == 4
    assert len(await database.fetch("SELECT FROM chat_message_words")) == 15
    again = await index(database, *chats)
    assert (again.messages, list(again.unfinished)) == (0, [])


async def test_pages_follow_each_other_in_the_order_of_the_list(database: Database) -> None:
    chats = [await new_chat(database, f"needle {n}") for n in range(5)]
    await index(database, *chats)
    first = await find(database, "needle", limit=2)
    last = first[-1].chat
    rest = await find(database, "needle", limit=9, before=(last.updated_at, last.id))
    assert [m.chat.id for m in (*first, *rest)] == [chat.id for chat in reversed(chats)]


@pytest.mark.parametrize(
    ("chat_filter", "found"),
    [
        (ChatFilter(archived=False), True),
        (ChatFilter(archived=True), False),
        (ChatFilter(statuses=[Status.PENDING]), True),
        (ChatFilter(statuses=[Status.ERROR]), False),
        (ChatFilter(parent="none"), True),
        (ChatFilter(parent=UUID(int=1)), False),
        (ChatFilter(label_names=["a"]), False),
        (ChatFilter(labels=[("a", "b")]), False),
    ],
)
async def test_other_filters_apply_too(
    database: Database, chat_filter: ChatFilter, found: bool
) -> None:
    chat = await new_chat(database, "needle")
    await index(database, chat)
    assert await found_ids(database, "needle", chat_filter=chat_filter) == [chat.id] * found


@pytest.mark.parametrize(
    "text",
    [
        "needle " * 20_000,
        "x" * 60_000 + " needle",
        "a\ue000needle\ue001b \ue000",
        "\N{MUSICAL SYMBOL G CLEF}" * 3000,
    ],
    ids=["repeated", "long word first", "signs", "wide"],
)
async def test_excerpt_is_bounded_whatever_the_text_is(database: Database, text: str) -> None:
    chat = await new_chat(database, f"{text} end\nneedle")
    await index(database, chat)
    for match in await find(database, "needle OR end"):
        joined = "".join(each.text for each in match.excerpt)
        assert 0 < len(joined) <= 400
        assert not set(joined) & {"\ue000", "\ue001"}
