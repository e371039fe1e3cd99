"""Ids of chats and keys of requests that follow from the ids of clients."""

from uuid import UUID, uuid4

import pytest

from chatd.adapters.chat_ids import chat_id, edit_key, new_chat_id, send_key
from chatd.api.errors.problems import HttpProblem

TEXT = ({"type": "text", "text": "hi"},)
CHAT = UUID(int=1)


def test_uuid_is_the_id_itself_in_any_spelling() -> None:
    given = uuid4()
    for spelled in (str(given), given.hex, str(given).upper()):
        assert chat_id("ann", spelled) == new_chat_id("bob", spelled) == given


def test_any_other_name_is_one_of_its_owner() -> None:
    mine = chat_id("ann", "main")
    assert chat_id("ann", "main") == mine == new_chat_id("ann", "main")
    assert chat_id("bob", "main") != mine
    assert chat_id("ann", "other") != mine
    assert chat_id("ann", "half of a pair: \ud800").version == mine.version
    assert str(mine) == "b14c424f-d3c5-5d21-b379-fdef333995b1", "stored chats keep their names"


def test_hash_names_a_chat_and_creates_none() -> None:
    mine = str(chat_id("ann", "main"))
    assert str(chat_id("bob", mine)) == mine
    with pytest.raises(HttpProblem, match="version 5"):
        new_chat_id("bob", mine)


def test_key_of_a_message_is_that_of_its_client() -> None:
    key = send_key("ann", "ai", CHAT, "u1", TEXT)
    assert key == send_key("ann", "ai", CHAT, "u1", ({"text": "hi", "type": "text"},))
    assert len(key.key) <= 255
    other = send_key("ann", "ai", CHAT, "u1", ({"type": "text", "text": "ho"},))
    assert (other.key, other.request_hash) != (key.key, key.request_hash)
    assert other.key == key.key, "another content under the same key is refused: it is an edit"
    assert send_key("ann", "ai", CHAT, "u2", TEXT).key != key.key
    assert send_key("ann", "ai", CHAT, "\ud800" * 9999, TEXT).key != key.key


def test_edit_that_is_taken_back_is_another_request() -> None:
    """A to B to A to B: the last is no repetition of the first, since it replaces another message."""
    assert edit_key("ann", "ai", CHAT, 1, TEXT).key != edit_key("ann", "ai", CHAT, 2, TEXT).key
    assert edit_key("ann", "ai", CHAT, 1, TEXT) == edit_key("ann", "ai", CHAT, 1, TEXT)
