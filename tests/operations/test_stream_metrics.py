"""Metrics of streams, notifications and requests."""

from support.auth import EVERY_SCOPE, authenticated_daemons, create_chat_as
from support.eventually import eventually
from support.in_process import InProcessDaemon, running_daemon, running_daemons
from support.metrics import MetricsObserver, final_samples
from support.providers import scripted
from support.requests import assert_problem
from support.streams import (
    LARGE_LABELS,
    background_subscriber,
    non_reading_client,
    read_to_end,
    stream_path,
)

from chatd.fanout.topic import Subscription

ENDED = "chatd_streams_ended_total"


def viewers(chatd: InProcessDaemon) -> list[Subscription]:
    return [s for t in chatd.daemon.services.hub._topics.values() for s in t.subscriptions]


async def test_open_streams_and_client_disconnects(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        meter = await MetricsObserver.start(chatd)
        chat = await chatd.api.create()
        async with (
            background_subscriber(chatd, chat["id"]),
            chatd.api.http.stream("GET", "/api/v1/chats/stream"),
        ):
            await meter.wait_for_value("chatd_streams_open", 1, kind="chat")
            await meter.wait_for_value("chatd_streams_open", 1, kind="list")
            assert await meter.increase(ENDED) == 0
        await meter.wait_for_increase(ENDED, 2, reason="client_disconnected")
        await meter.wait_for_value("chatd_streams_open", 0, kind="chat")
        await meter.wait_for_value("chatd_streams_open", 0, kind="list")
        assert await meter.increase("chatd_streams_opened_total") == 2


async def test_stream_ends_by_reason(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        meter = await MetricsObserver.start(chatd)
        deleted, cut, last = [await chatd.api.create() for _ in range(3)]
        async with background_subscriber(chatd, deleted["id"]):
            await chatd.api.http.delete(f"/api/v1/chats/{deleted['id']}")
            await meter.wait_for_increase(ENDED, reason="chat_deleted")
        async with background_subscriber(chatd, cut["id"]):
            [subscription] = viewers(chatd)
            subscription.topic.disconnect_all()
            await meter.wait_for_increase(ENDED, reason="aborted")
        async with background_subscriber(chatd, last["id"]) as subscriber:
            await chatd.stop()
            await eventually(subscriber.task.done)
        assert final_samples(chatd).sum_of(ENDED, reason="draining") == 1
        assert final_samples(chatd).sum_of(ENDED) == 3


async def test_slow_consumer_ends_stream(dsn: str) -> None:
    async with running_daemon(
        dsn, stream={"subscriber_buffer": 3}, worker={"enabled": False}
    ) as chatd:
        meter = await MetricsObserver.start(chatd)
        chat = await chatd.api.create()
        async with non_reading_client(chatd, stream_path(chat["id"])) as connection:
            [subscription] = await eventually(lambda: viewers(chatd))
            while not subscription.disconnected:
                response = await chatd.api.http.patch(
                    f"/api/v1/chats/{chat['id']}", json={"labels": LARGE_LABELS}
                )
                assert response.status_code == 200
            await read_to_end(connection)
        await meter.wait_for_increase(ENDED, reason="slow_consumer")


async def test_revoked_token_ends_stream(dsn: str) -> None:
    async with authenticated_daemons(dsn, scripted()) as at:
        token, ann = await at.create_token("ann")
        boss = await at.new_caller_headers("boss", scopes=EVERY_SCOPE)
        chat = await create_chat_as(at.chatd, ann)
        async with at.chatd.api.http.stream("GET", stream_path(chat["id"]), headers=ann) as answer:
            assert answer.status_code == 200
            await at.tokens.revoke(token.id)
            async for _ in answer.aiter_bytes():
                pass
        at.chatd.api.http.headers.update(boss)
        await (await MetricsObserver.start(at.chatd)).wait_for_value(ENDED, 1, reason="revoked")


async def test_flushed_parts_and_delay(dsn: str) -> None:
    slow = [{"text": "all that is gold does not glitter", "chunks": 20, "delay_seconds": 0.02}]
    async with running_daemon(dsn, scripted(slow), stream={"flush_interval_seconds": 0.1}) as chatd:
        meter = await MetricsObserver.start(chatd)
        chat = await chatd.api.create("hello")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        await meter.wait_for_increase("chatd_turns_total", outcome="finished")
        parts = await meter.increase("chatd_parts_streamed_total")
        assert 0 < await meter.increase("chatd_parts_flushed_total") <= parts
        flushes = await meter.increase("chatd_flush_delay_seconds_count")
        assert 0 < flushes < parts
        assert await meter.increase("chatd_flush_delay_seconds_sum") > 0


async def test_received_notifications_are_counted(dsn: str) -> None:
    async with running_daemons(dsn, [scripted(), scripted()], worker={"poll_seconds": 600}) as (
        front,
        back,
    ):
        front.daemon.chat_tasks.stop_claiming()
        sent, received = await MetricsObserver.start(front), await MetricsObserver.start(back)
        chat = await front.api.create("hello")
        await front.api.wait_for_status(chat["id"], "waiting")
        await received.wait_for_increase("chatd_turns_total")
        assert await sent.increase("chatd_notifications_sent_total") >= 1
        assert await received.increase("chatd_notifications_received_total") >= 1
        assert await received.increase("chatd_notification_to_claim_seconds_count") == 1
        assert await received.increase("chatd_notifications_missed_total") == 0


async def test_missed_notifications_are_found_by_polling(dsn: str) -> None:
    async with running_daemons(dsn, [scripted(), scripted()], worker={"poll_seconds": 0.6}) as (
        front,
        back,
    ):
        front.daemon.chat_tasks.stop_claiming()
        front.daemon.services.change_bus._notify_replicas = lambda _: None
        meter = await MetricsObserver.start(back)

        async def missed() -> bool:
            """Return whether a poll counted one. Some it finds before their notification is overdue."""
            chat = await front.api.create("hello")
            await front.api.wait_for_status(chat["id"], "waiting")
            return await meter.increase("chatd_notifications_missed_total", kind="pending") > 0

        await eventually(missed)
        chat = await front.api.create()
        async with background_subscriber(back, chat["id"]) as subscriber:
            await front.api.http.patch(f"/api/v1/chats/{chat['id']}", json={"title": "new"})
            await eventually(lambda: len(subscriber.events) == 2)
            await meter.wait_for_increase("chatd_notifications_missed_total", kind="subscribed")
            await back.api.http.patch(f"/api/v1/chats/{chat['id']}", json={"title": "newer"})
            await eventually(lambda: len(subscriber.events) == 3)
        assert await meter.increase("chatd_notifications_missed_total", kind="subscribed") == 1


async def test_requests_by_route_and_status(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        meter = await MetricsObserver.start(chatd)
        chat = await chatd.api.create()
        for _ in range(3):
            await chatd.api.chat(chat["id"])
        assert_problem(await chatd.api.http.get("/api/v1/chats/no-uuid"), 422, "invalid_request")
        await chatd.api.http.get("/nobody/serves/this")
        route = "/api/v1/chats/{chat_id}"
        requests = "chatd_http_requests_total"
        assert (
            await meter.increase(requests, method="POST", route="/api/v1/chats", status="201") == 1
        )
        assert await meter.increase(requests, method="GET", route=route, status="200") == 3
        assert await meter.increase(requests, method="GET", route=route, status="422") == 1
        assert await meter.increase(requests, route="other", status="404") == 1
        seconds = "chatd_http_request_seconds_count"
        assert await meter.increase(seconds, method="GET", route=route) == 4
        assert await meter.increase("chatd_http_request_seconds_sum", route=route) > 0
        assert await meter.increase("chatd_http_problems_total", code="invalid_request") == 1


async def test_stream_request_is_counted_at_its_start(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        meter = await MetricsObserver.start(chatd)
        chat = await chatd.api.create()
        async with background_subscriber(chatd, chat["id"]):
            route = "/api/v1/chats/{chat_id}/stream"
            await meter.wait_for_increase("chatd_http_requests_total", route=route, status="200")


async def test_problems_are_counted_by_code(dsn: str) -> None:
    worker = {"enabled": False, "max_queued_messages": 1}
    async with running_daemon(dsn, worker=worker, http={"max_body_bytes": 2000}) as chatd:
        meter = await MetricsObserver.start(chatd)
        chat = await chatd.api.create("hello")
        await chatd.api.send(chat["id"], "waits")
        path = f"/api/v1/chats/{chat['id']}/messages"
        assert_problem(await chatd.api.http.post(path, json={"content": "more"}), 429, "queue_full")
        large = {"content": "a" * 3000}
        assert_problem(await chatd.api.http.post(path, json=large), 413, "body_too_large")
        assert await meter.increase("chatd_http_problems_total", code="queue_full") == 1
        assert await meter.increase("chatd_http_problems_total", code="body_too_large") == 1


async def test_idempotent_replays_are_counted(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        meter = await MetricsObserver.start(chatd)
        for _ in range(3):
            answer = await chatd.api.http.post(
                "/api/v1/chats", json={}, headers={"idempotency-key": "once"}
            )
            assert answer.status_code == 201
        assert await meter.increase("chatd_idempotent_replays_total") == 2
