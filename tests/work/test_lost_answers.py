"""The database did what it was asked, but its answer was lost, and the world went on."""

from support.eventually import eventually
from support.in_process import running_daemon
from support.providers import scripted

from chatd.domain.errors import DatabaseUnavailable


async def test_a_stop_that_came_after_an_unheard_end_of_a_turn_is_heeded(dsn: str) -> None:
    """The first turn is stored and the second has begun, for all but its owner; then comes a stop."""
    provider = scripted([{"text": "You said: {message}"}], hang=[{"hang": True}])
    async with running_daemon(dsn, provider) as chatd:
        turns, chats = chatd.daemon.services.store.turns, chatd.daemon.services.store.chats
        finish_turn = turns.finish_turn

        async def unheard(*args: object, **more: object) -> None:
            turns.finish_turn = finish_turn  # type: ignore[method-assign]
            moved = await finish_turn(*args, **more)  # type: ignore[arg-type]
            assert moved.chat.status == "running"  # with what was queued
            await chats.interrupt(moved.chat.id, owner_id="local")
            raise DatabaseUnavailable

        chat = await chatd.api.create()
        turns.finish_turn = unheard  # type: ignore[assignment,method-assign]
        chatd.daemon.chat_tasks.stop_claiming()
        await chatd.api.send(chat["id"], "one")
        await chatd.api.send(chat["id"], "two", busy_behavior="queue")
        chatd.daemon.chat_tasks._draining = False
        await chatd.api.wait_for_status(chat["id"], "waiting", 5)
        assert await chatd.api.texts(chat["id"]) == ["You said: one"]
        assert await chatd.journal(chat["id"], "reap_interrupt") == []
        await eventually(lambda: not chatd.daemon.chat_tasks.leases)
