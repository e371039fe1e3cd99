"""Streams, hints and requests: what readers and callers get, and whether processes hear of each other."""

from asking import refused
from callers import created, office
from inside import Inside, one, scripted, several
from metering import Meter, left_behind
from running import fact
from viewing import LARGE, deaf, following, path_of, read_to_the_end

from chatd.live.topic import Subscription

ENDED = "chatd_streams_ended_total"


def viewers(chatd: Inside) -> list[Subscription]:
    return [s for t in chatd.daemon.services.hub._topics.values() for s in t.subscriptions]


async def test_streams_that_are_open_and_that_their_readers_left(dsn: str) -> None:
    async with one(dsn) as chatd:
        meter = await Meter.on(chatd)
        chat = await chatd.api.create()
        async with (
            following(chatd, chat["id"]),
            chatd.api.http.stream("GET", "/api/v1/chats/stream"),
        ):
            await meter.becomes("chatd_streams_open", 1, of="chat")
            await meter.becomes("chatd_streams_open", 1, of="list")
            assert await meter.grew(ENDED) == 0
        await meter.grows(ENDED, 2, why="left")
        await meter.becomes("chatd_streams_open", 0, of="chat")
        await meter.becomes("chatd_streams_open", 0, of="list")
        assert await meter.grew("chatd_streams_opened_total") == 2


async def test_streams_that_end_by_themselves(dsn: str) -> None:
    async with one(dsn) as chatd:
        meter = await Meter.on(chatd)
        gone, cut, last = [await chatd.api.create() for _ in range(3)]
        async with following(chatd, gone["id"]):
            await chatd.api.http.delete(f"/api/v1/chats/{gone['id']}")
            await meter.grows(ENDED, why="gone")
        async with following(chatd, cut["id"]):
            [subscription] = viewers(chatd)
            subscription.topic.disconnect_all()
            await meter.grows(ENDED, why="cut")
        async with following(chatd, last["id"]) as heard:
            await chatd.stop()
            await fact(heard.task.done)
        assert left_behind(chatd).of(ENDED, why="draining") == 1
        assert left_behind(chatd).of(ENDED) == 3


async def test_a_reader_that_is_too_slow(dsn: str) -> None:
    async with one(dsn, stream={"subscriber_buffer": 3}, worker={"enabled": False}) as chatd:
        meter = await Meter.on(chatd)
        chat = await chatd.api.create()
        async with deaf(chatd, path_of(chat["id"])) as wire:
            [subscription] = await fact(lambda: viewers(chatd))
            while not subscription.let_go:
                await chatd.api.http.patch(f"/api/v1/chats/{chat['id']}", json={"labels": LARGE})
            await read_to_the_end(wire)
        await meter.grows(ENDED, why="slow")


async def test_a_reader_whose_token_was_revoked(dsn: str) -> None:
    async with office(dsn, scripted()) as at:
        token, ann = await at.token("ann")
        boss = await at.caller("boss", admin=True)
        chat = await created(at.chatd, ann)
        async with at.chatd.api.http.stream("GET", path_of(chat["id"]), headers=ann) as answer:
            assert answer.status_code == 200
            await at.tokens.revoke(token.id)
            async for _ in answer.aiter_bytes():
                pass
        at.chatd.api.http.headers.update(boss)
        await (await Meter.on(at.chatd)).becomes(ENDED, 1, why="revoked")


async def test_parts_that_are_stored_for_viewers_elsewhere(dsn: str) -> None:
    slow = [{"text": "all that is gold does not glitter", "chunks": 20, "delay_seconds": 0.02}]
    async with one(dsn, scripted(slow), stream={"flush_interval_seconds": 0.1}) as chatd:
        meter = await Meter.on(chatd)
        chat = await chatd.api.create("hello")
        await chatd.api.until(chat["id"], "waiting")
        await meter.grows("chatd_turns_total", outcome="finished")
        parts = await meter.grew("chatd_parts_streamed_total")
        assert 0 < await meter.grew("chatd_parts_flushed_total") <= parts
        flushes = await meter.grew("chatd_flush_delay_seconds_count")
        assert 0 < flushes < parts
        assert await meter.grew("chatd_flush_delay_seconds_sum") > 0


async def test_hints_that_come(dsn: str) -> None:
    async with several(dsn, [scripted(), scripted()], worker={"poll_seconds": 600}) as (
        front,
        back,
    ):
        front.daemon.chat_tasks.stop_claiming()
        sent, received = await Meter.on(front), await Meter.on(back)
        chat = await front.api.create("hello")
        await front.api.until(chat["id"], "waiting")
        await received.grows("chatd_turns_total")
        assert await sent.grew("chatd_notifications_sent_total") >= 1
        assert await received.grew("chatd_notifications_received_total") >= 1
        assert await received.grew("chatd_notification_to_claim_seconds_count") == 1
        assert await received.grew("chatd_notifications_missed_total") == 0


async def test_hints_that_do_not_come_are_found_out_by_polling(dsn: str) -> None:
    async with several(dsn, [scripted(), scripted()], worker={"poll_seconds": 0.6}) as (
        front,
        back,
    ):
        front.daemon.chat_tasks.stop_claiming()
        front.daemon.services.change_bus._notify_replicas = lambda _: None
        meter = await Meter.on(back)

        async def missed() -> bool:
            """A poll finds some of them so early that a hint might still be on its way."""
            chat = await front.api.create("hello")
            await front.api.until(chat["id"], "waiting")
            return await meter.grew("chatd_notifications_missed_total", of="pending") > 0

        await fact(missed)
        chat = await front.api.create()
        async with following(back, chat["id"]) as heard:
            await front.api.http.patch(f"/api/v1/chats/{chat['id']}", json={"title": "new"})
            await fact(lambda: len(heard.heard) == 2)
            await meter.grows("chatd_notifications_missed_total", of="watched")
            await back.api.http.patch(f"/api/v1/chats/{chat['id']}", json={"title": "newer"})
            await fact(lambda: len(heard.heard) == 3)
        assert await meter.grew("chatd_notifications_missed_total", of="watched") == 1


async def test_requests_by_route_and_status(dsn: str) -> None:
    async with one(dsn) as chatd:
        meter = await Meter.on(chatd)
        chat = await chatd.api.create()
        for _ in range(3):
            await chatd.api.chat(chat["id"])
        refused(await chatd.api.http.get("/api/v1/chats/no-uuid"), 422, "invalid_request")
        await chatd.api.http.get("/nobody/serves/this")
        route = "/api/v1/chats/{chat_id}"
        requests = "chatd_http_requests_total"
        assert await meter.grew(requests, method="POST", route="/api/v1/chats", status="201") == 1
        assert await meter.grew(requests, method="GET", route=route, status="200") == 3
        assert await meter.grew(requests, method="GET", route=route, status="422") == 1
        assert await meter.grew(requests, route="other", status="404") == 1
        seconds = "chatd_http_request_seconds_count"
        assert await meter.grew(seconds, method="GET", route=route) == 4
        assert await meter.grew("chatd_http_request_seconds_sum", route=route) > 0
        assert await meter.grew("chatd_http_problems_total", code="invalid_request") == 1


async def test_a_stream_counts_when_it_begins(dsn: str) -> None:
    async with one(dsn) as chatd:
        meter = await Meter.on(chatd)
        chat = await chatd.api.create()
        async with following(chatd, chat["id"]):
            route = "/api/v1/chats/{chat_id}/stream"
            await meter.grows("chatd_http_requests_total", route=route, status="200")


async def test_limits_that_were_hit_have_their_names(dsn: str) -> None:
    worker = {"enabled": False, "max_queued_messages": 1}
    async with one(dsn, worker=worker, http={"max_body_bytes": 2000}) as chatd:
        meter = await Meter.on(chatd)
        chat = await chatd.api.create("hello")
        await chatd.api.send(chat["id"], "waits")
        path = f"/api/v1/chats/{chat['id']}/messages"
        refused(await chatd.api.http.post(path, json={"content": "more"}), 429, "queue_full")
        large = {"content": "a" * 3000}
        refused(await chatd.api.http.post(path, json=large), 413, "body_too_large")
        assert await meter.grew("chatd_http_problems_total", code="queue_full") == 1
        assert await meter.grew("chatd_http_problems_total", code="body_too_large") == 1


async def test_requests_that_are_said_again(dsn: str) -> None:
    async with one(dsn) as chatd:
        meter = await Meter.on(chatd)
        for _ in range(3):
            answer = await chatd.api.http.post(
                "/api/v1/chats", json={}, headers={"idempotency-key": "once"}
            )
            assert answer.status_code == 201
        assert await meter.grew("chatd_idempotent_replays_total") == 2
