"""Known histories: the one of the right version, and no more bytes than the bound."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

from chatd.domain.message import Message, Role
from chatd.store.histories import ChatHistory, KnownHistories

A, B, C = (UUID(int=number) for number in (1, 2, 3))


def history(size: int) -> ChatHistory:
    message = Message(
        id=1,
        chat_id=uuid4(),
        version=1,
        role=Role.USER,
        content=(),
        model_config_id=None,
        usage=None,
        finish_reason=None,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        size=size - 1500,
    )
    return ChatHistory((message,))


def test_history_is_known_once_and_for_its_version_alone() -> None:
    known, one = KnownHistories(max_bytes=10_000), history(4000)
    known.keep(A, 3, one)
    assert known.size == one.size == 4000
    assert known.take(A, 3) is one
    assert known.take(A, 3) is None
    known.keep(A, 3, one)
    known.keep(A, 4, history(5000))
    assert known.size == 5000
    assert known.take(A, 3) is None
    assert known.take(A, 4) is None, "an old version is forgotten"
    assert known.size == 0


def test_histories_that_were_kept_first_make_room() -> None:
    known = KnownHistories(max_bytes=10_000)
    for chat_id in (A, B, A, C):
        known.keep(chat_id, 1, history(4000))
    assert known.size == 8000
    assert known.take(B, 1) is None
    known.keep(B, 1, history(10_001))
    assert known.take(B, 1) is None, "it is too large for all of the room"
    assert known.take(A, 1)
    assert known.take(C, 1)
    assert known.size == 0


def test_tools_count_too() -> None:
    tools = [{"name": "x" * 5000}]
    assert ChatHistory((), tools).size > 5000


def test_histories_without_messages_are_bounded_too() -> None:
    known = KnownHistories(max_bytes=10_000)
    for number in range(100):
        known.keep(UUID(int=number), 1, ChatHistory())
    assert 0 < known.size <= 10_000
    assert known.take(UUID(int=0), 1) is None
    assert known.take(UUID(int=99), 1) == ChatHistory()


def test_history_that_grows_is_summed_up_like_one_that_was_read() -> None:
    first, second = history(4000).messages[0], history(6000).messages[0]
    odd = replace(second, role=Role.read("oracle"))
    grown = ChatHistory((first,)).with_messages([second]).with_ledger(())
    assert grown == ChatHistory((first, second))
    assert grown.size == ChatHistory((first, second)).size
    assert grown.unknown_word is None
    assert grown.with_messages([odd]).with_messages([first]).unknown_word == "oracle"
    assert ChatHistory((odd, first)).unknown_word == "oracle"
    assert ChatHistory((odd,)).before(odd.id).unknown_word is None
