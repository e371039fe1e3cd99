"""Callbacks of a connection that is lost."""

import asyncio

from chatd.api.connection import Connection


def test_every_callback_is_called_once() -> None:
    connection, called = Connection(asyncio.Transport()), list[str]()
    for name in ("first", "second"):
        connection.on_loss(lambda name=name: called.append(name))
    assert called == []
    connection.lose()
    connection.lose()
    assert sorted(called) == ["first", "second"]


def test_connection_that_was_lost_before_calls_at_once() -> None:
    connection, called = Connection(asyncio.Transport()), list[str]()
    connection.lose()
    connection.on_loss(lambda: called.append("late"))
    assert called == ["late"]


def test_callback_that_is_forgotten_is_not_called() -> None:
    connection, called = Connection(asyncio.Transport()), list[str]()

    def note() -> None:
        called.append("note")

    connection.on_loss(note)
    connection.forget(note)
    connection.forget(note)
    connection.lose()
    assert called == []
