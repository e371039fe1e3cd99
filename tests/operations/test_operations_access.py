"""Access to metrics and status, which concern all owners, and the absence of content in them."""

from uuid import UUID

from support.auth import EVERY_SCOPE, authenticated_daemons, create_chat_as
from support.eventually import eventually
from support.in_process import running_daemon
from support.metrics import Samples, parse_samples, scrape
from support.providers import scripted
from support.requests import assert_problem

from chatd.domain.outcomes import CallPurpose
from chatd.telemetry.instruments import MAX_SERIES, Counter, Histogram
from chatd.telemetry.metrics import Metrics
from chatd.telemetry.prometheus import PrometheusCollector

ODD = ("TRACE", "PROPFIND", "MKCOL", "REPORT")
PATHS = ("/metrics", "/statusz")


async def test_operations_are_public_without_authentication(dsn: str) -> None:
    async with running_daemon(dsn) as chatd:
        for path in PATHS:
            assert (await chatd.api.http.get(path)).status_code == 200


async def test_operations_require_scopes_with_authentication(dsn: str) -> None:
    async with authenticated_daemons(dsn, scripted()) as at:
        http = at.chatd.api.http
        ann, boss = (
            await at.new_caller_headers("ann"),
            await at.new_caller_headers("boss", scopes=EVERY_SCOPE),
        )
        for path in PATHS:
            assert_problem(await http.get(path), 401, "unauthorized")
            acting = boss | {"x-chatd-owner": "ann"}
            for headers in (ann, acting):
                assert_problem(await http.get(path, headers=headers), 403, "insufficient_scope")
            assert (await http.get(path, headers=boss)).status_code == 200


async def test_metrics_can_be_public_and_status_cannot(dsn: str) -> None:
    async with authenticated_daemons(dsn, scripted(), metrics={"public": True}) as at:
        http = at.chatd.api.http
        assert (await http.get("/metrics")).status_code == 200
        assert (
            await http.get("/metrics", headers=await at.new_caller_headers("ann"))
        ).status_code == 200
        assert_problem(await http.get("/statusz"), 401, "unauthorized")


async def test_operations_show_no_content_of_chats(dsn: str) -> None:
    words = {"content": "[[hang]] whisper", "title": "hush", "labels": {"team": "reticent"}}
    async with authenticated_daemons(
        dsn, scripted(hang=[{"text": "murmur"}, {"hang": True}])
    ) as at:
        ann, boss = (
            await at.new_caller_headers("ann-of-acme"),
            await at.new_caller_headers("boss", scopes=EVERY_SCOPE),
        )
        chat = await create_chat_as(at.chatd, ann, system_prompt="mutter", **words)
        http = at.chatd.api.http

        async def status() -> str:
            return (await http.get("/statusz", headers=boss)).text

        await eventually(lambda: _has(status, chat["id"]))
        shown = {path: (await http.get(path, headers=boss)).text for path in PATHS}
        assert chat["id"] not in shown["/metrics"]
        for text in shown.values():
            for secret in (
                "whisper",
                "hush",
                "reticent",
                "murmur",
                "mutter",
                "ann-of-acme",
                "chatd_ey",
            ):
                assert secret not in text


async def _has(status, words: str) -> bool:  # type: ignore[no-untyped-def]
    return words in await status()


async def test_status_shows_leased_chats_and_actors(dsn: str) -> None:
    provider = scripted(hang=[{"text": "I begin"}, {"hang": True}])
    async with running_daemon(
        dsn, provider, worker={"max_chats": 7}, metrics={"refresh_interval_seconds": 0.05}
    ) as chatd:

        async def status() -> dict[str, object]:
            answer = await chatd.api.http.get("/statusz")
            assert answer.status_code == 200
            return dict(answer.json())

        shown = await status()
        assert (shown["chats"], shown["free_slots"]) == ([], 7)
        chat = await chatd.api.create("[[hang]]")
        await eventually(lambda: provider.open_streams)
        shown = await status()
        [lease] = shown["chats"]  # type: ignore[misc]
        assert (lease["chat_id"], lease["status"], lease["epoch"]) == (chat["id"], "running", 1)
        assert (lease["stage"], lease["committed_steps"]) == ("model stream", 0)
        assert 0 < lease["deadline_seconds"] <= 60
        assert 0 < lease["lease_left_seconds"] <= 15
        assert 0 <= lease["stage_seconds"] <= lease["leased_seconds"] + 1
        assert UUID(str(shown["worker_id"])) == chatd.daemon.worker_id
        assert (shown["phase"], shown["free_slots"], shown["streams"]) == ("serving", 6, 0)
        actors = {actor["name"]: actor for actor in shown["actors"]}  # type: ignore[attr-defined]
        assert actors["heartbeat"]["state"] == "running"
        assert actors["heartbeat"]["budget_left"] == 5
        assert next(iter(actors)) == "http"

        async def stats_are_fresh() -> bool:
            stats = (await status())["database_stats"]
            return stats is not None and stats["chats"]["running"] == 1  # type: ignore[index]

        await eventually(stats_are_fresh)
        assert str((await status())["versions"]["postgresql"])[:2].isdigit()  # type: ignore[index]


# -- how many series there are ------------------------------------------------------------------------


async def test_number_of_series_is_bounded_for_any_requests(dsn: str) -> None:
    """Chats, owners, keys, paths, methods and models that a caller chooses create no series."""
    async with authenticated_daemons(dsn, scripted()) as at:
        boss = await at.new_caller_headers("boss", scopes=EVERY_SCOPE)

        async def round_of(number: int) -> Samples:
            ann, http = await at.new_caller_headers(f"ann {number}"), at.chatd.api.http
            for _ in range(3):
                chat = await create_chat_as(at.chatd, ann, content="hi", labels={f"l{number}": "x"})
                path = f"/api/v1/chats/{chat['id']}"
                await http.get(path, headers=ann)
                await http.get(
                    f"{path}?x={number}", headers=ann | {"idempotency-key": f"k{number}"}
                )
            await http.get(f"/nobody/{number}", headers=ann)
            await http.get(f"/api/v1/chats/no-uuid-{number}", headers=ann)
            await http.request(ODD[number % len(ODD)], "/api/v1/chats", headers=ann)
            await http.get(path, headers={"authorization": f"Bearer {number}"})
            assert_problem(
                await http.post("/api/v1/chats", json={"model": f"no {number}"}, headers=ann),
                422,
                "model_not_found",
            )
            return await scrape(at.chatd, headers=boss)

        async def turns_were_counted(count: int) -> bool:
            return (await scrape(at.chatd, headers=boss)).sum_of("chatd_turns_total") >= count

        await round_of(0)
        await eventually(lambda: turns_were_counted(3))
        before = set(await round_of(1))
        for number in range(2, 12):
            after = await round_of(number)
        assert set(after) == before
        assert len(after) < 3000
        assert after.sum_of("chatd_http_requests_total", method="other") == 12


def test_series_beyond_limit_become_other() -> None:
    counter, histogram = Counter("c", "c", what=None), Histogram("h", "h", what=None)
    for number in range(2 * MAX_SERIES):
        counter.add(str(number))
        histogram.observe(1.0, str(number))
    assert len(counter.values) <= MAX_SERIES + 1
    assert len(histogram.values) <= MAX_SERIES + 1
    assert sum(counter.values.values()) == 2 * MAX_SERIES
    assert counter.values["other",] == MAX_SERIES
    assert sum(spread.total for spread in histogram.values.values()) == 2 * MAX_SERIES


def test_unknown_label_value_becomes_other() -> None:
    counter = Counter("c", "c", kind=("a", "b"))
    assert counter.values == {("a",): 0, ("b",): 0}
    counter.add("a")
    counter.add("z", amount=2)
    assert counter.values == {("a",): 1, ("b",): 0, ("other",): 2}


def test_metric_names_follow_conventions() -> None:
    instruments = list(Metrics())
    names = [instrument.name for instrument in instruments]
    assert len(names) == len(set(names))
    for instrument in instruments:
        name = instrument.name
        assert name.startswith("chatd_")
        assert name.endswith("_total") == (instrument.kind == "counter"), name
        assert instrument.description.endswith("."), name
        assert not {"id", "chat_id", "owner", "owner_id"} & {*instrument.labels}, name


def test_rendered_text_is_parsed_by_prometheus_client() -> None:
    metrics = Metrics()
    metrics.turns.provider_calls.add('a "quoted"\nname\\', CallPurpose.ANSWER)
    metrics.turns.duration.observe(0.3)
    metrics.turns.duration.observe(0.25)
    metrics.turns.duration.observe(1e6)
    read = parse_samples(PrometheusCollector(metrics).render().decode())
    assert read.sum_of("chatd_provider_calls_total", model='a "quoted"\nname\\') == 1
    buckets = {
        b: read.sum_of("chatd_turn_seconds_bucket", le=b) for b in ("0.1", "0.25", "0.5", "+Inf")
    }
    assert buckets == {"0.1": 0, "0.25": 1, "0.5": 2, "+Inf": 3}
    assert read.sum_of("chatd_turn_seconds_sum") == 1e6 + 0.55
