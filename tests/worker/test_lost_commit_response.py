"""Commits whose response is lost: the writer finds out what was applied."""

from support.eventually import eventually
from support.in_process import running_daemon
from support.providers import scripted

from chatd.domain.errors import DatabaseUnavailable


async def test_interrupt_after_a_lost_finish_response_stops_the_next_turn(dsn: str) -> None:
    """The first turn is stored and the second one started, unknown to the worker, and interrupted."""
    provider = scripted([{"text": "You said: {message}"}], hang=[{"hang": True}])
    async with running_daemon(dsn, provider) as chatd:
        turns, chats = chatd.daemon.services.store.turns, chatd.daemon.services.store.chats
        finish_turn = turns.finish_turn

        async def lose_response(*args: object, **more: object) -> None:
            turns.finish_turn = finish_turn  # type: ignore[method-assign]
            result = await finish_turn(*args, **more)  # type: ignore[arg-type]
            assert result.chat.status == "running"  # with what was queued
            await chats.interrupt(result.chat.id, owner_id="local")
            raise DatabaseUnavailable

        chat = await chatd.api.create()
        turns.finish_turn = lose_response  # type: ignore[assignment,method-assign]
        chatd.daemon.chat_tasks.stop_claiming()
        await chatd.api.send(chat["id"], "one")
        await chatd.api.send(chat["id"], "two", busy_behavior="queue")
        chatd.daemon.chat_tasks._draining = False
        await chatd.api.wait_for_status(chat["id"], "waiting", 5)
        assert await chatd.api.texts(chat["id"]) == ["You said: one"]
        assert await chatd.journal(chat["id"], "reap_interrupt") == []
        await eventually(lambda: not chatd.daemon.chat_tasks.leases)
