"""The fleet, which only operators see and change: workers, and active chats of all owners."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from support.auth import AuthenticatedDaemons, Bearer, authenticated_daemons, create_chat_as
from support.eventually import eventually
from support.in_process import InProcessDaemon
from support.providers import ECHO_SCRIPT, scripted
from support.requests import assert_problem
from support.shared_daemon import SharedDaemon, shared_daemon

from chatd.domain.access_scope import AccessScope

HANG = [{"text": "I begin"}, {"hang": True}]
FAILS = [{"error": {"status": 401}, "attempts": [1]}, {"text": "Better.", "attempts": [2]}]
FAST = {"heartbeat_seconds": 0.1, "lease_seconds": 15, "poll_seconds": 0.05}


@asynccontextmanager
async def fleet_of(dsn: str, count: int = 1) -> AsyncIterator[AuthenticatedDaemons]:
    providers = [scripted(ECHO_SCRIPT, hang=HANG, fails=FAILS) for _ in range(count)]
    metrics = {"refresh_interval_seconds": 0.05}
    async with authenticated_daemons(dsn, *providers, worker=FAST, metrics=metrics) as at:
        yield at


async def operator(at: AuthenticatedDaemons) -> Bearer:
    return await at.new_caller_headers("boss", scopes=[AccessScope.OPERATE])


async def get(chatd: InProcessDaemon, path: str, who: Bearer, **params: Any) -> dict[str, Any]:
    answer = await chatd.api.http.get(f"/api/v1/fleet{path}", headers=who, params=params)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def status_of(at: AuthenticatedDaemons, who: Bearer, chat_id: str) -> str:
    answer = await at.chatd.api.http.get(f"/api/v1/chats/{chat_id}", headers=who)
    return str(answer.json()["status"])


async def test_operators_see_workers_and_active_chats_without_what_they_say(dsn: str) -> None:
    async with fleet_of(dsn) as at:
        ann, boss = await at.new_caller_headers("ann"), await operator(at)
        hung = await create_chat_as(
            at.chatd, ann, content="[[hang]] whisper", title="hush", labels={"team": "reticent"}
        )
        failed = await create_chat_as(at.chatd, ann, content="[[fails]] whisper", title="hush")
        await create_chat_as(at.chatd, ann, title="idle")

        async def statuses() -> Any:
            found = {one["status"]: one for one in (await get(at.chatd, "", boss))["statuses"]}
            return found if found.keys() == {"running", "error"} else None

        by_status = await eventually(statuses)
        assert by_status["running"]["count"] == by_status["error"]["count"] == 1
        assert by_status["running"]["ages"] == [1, 0, 0, 0, 0]
        assert by_status["running"]["complete"]
        shown = await get(at.chatd, "", boss)
        [worker] = shown["workers"]
        assert worker["worker_id"] == shown["worker_id"] == str(at.chatd.daemon.worker_id)
        assert (worker["leased_chats"], worker["slots"], worker["draining"]) == (1, 100, False)
        assert worker["models"] == ["one", "two"]
        assert 0 <= worker["lease_age_seconds"] < 15
        assert 0 < worker["lease_left_seconds"] <= 15
        assert shown["owners"] == []

        chats = await get(at.chatd, "/chats", boss)
        assert {chat["id"]: chat["status"] for chat in chats["items"]} == {
            hung["id"]: "running",
            failed["id"]: "error",
        }
        by_id = {chat["id"]: chat for chat in chats["items"]}
        assert by_id[hung["id"]]["owner_id"] == "ann"
        assert by_id[failed["id"]]["failure_kind"] == "auth"
        only = await get(at.chatd, "/chats", boss, status="error", owner_id="ann")
        assert [chat["id"] for chat in only["items"]] == [failed["id"]]
        assert (await get(at.chatd, "/chats", boss, owner_id="bob"))["items"] == []
        for secret in ("whisper", "hush", "reticent", "I begin"):
            assert secret not in f"{shown}{chats}"


async def test_stages_and_pending_owners_are_listed(dsn: str) -> None:
    async with fleet_of(dsn) as at:
        ann, boss = await at.new_caller_headers("ann"), await operator(at)
        chat = await create_chat_as(at.chatd, ann, content="[[hang]]")

        async def staged() -> Any:
            return (await get(at.chatd, "", boss))["stages"]

        [stage] = await eventually(staged)
        assert (stage["stage"], stage["chats"]) == ("model stream", 1)
        assert stage["slowest_chat_id"] == chat["id"]
        await drain(at, boss, "put")
        await eventually(lambda: at.chatd.daemon.chat_tasks.free_slots == 0)
        for _ in range(2):
            await create_chat_as(at.chatd, ann, content="hello")
        [owner] = (await get(at.chatd, "", boss))["owners"]
        assert (owner["owner_id"], owner["pending"], owner["held"]) == ("ann", 2, 0)


async def drain(at: AuthenticatedDaemons, who: Bearer, method: str, number: int = 0) -> None:
    worker_id = at.daemons[number].daemon.worker_id
    path = f"/api/v1/fleet/workers/{worker_id}/drain"
    answer = await at.chatd.api.http.request(method, path, headers=who)
    assert answer.status_code == 204, answer.text


async def test_a_draining_worker_claims_nothing_and_ends_what_it_has(dsn: str) -> None:
    async with fleet_of(dsn, 2) as at:
        ann, boss = await at.new_caller_headers("ann"), await operator(at)
        hung = await create_chat_as(at.chatd, ann, content="[[hang]]")
        await eventually(lambda: sum(len(one.daemon.chat_tasks.leases) for one in at.daemons))
        holder = next(n for n, one in enumerate(at.daemons) if one.daemon.chat_tasks.leases)
        await drain(at, boss, "put", holder)
        await drain(at, boss, "put", holder)  # the same again
        pool, other = (
            at.daemons[holder].daemon.chat_tasks,
            at.daemons[1 - holder].daemon.worker_id,
        )
        await eventually(lambda: pool.free_slots == 0)
        assert await status_of(at, ann, hung["id"]) == "running"

        for _ in range(3):
            chat = await create_chat_as(at.daemons[holder], ann, content="hello")
            await eventually(lambda chat=chat: _is(at, ann, chat["id"], "waiting"))
            at.daemons[holder].api.http.headers.update(ann)
            claims = await at.daemons[holder].journal(chat["id"], "claim")
            assert [each["worker_id"] for each in claims] == [str(other)]

        await drain(at, boss, "delete", holder)
        await eventually(lambda: pool.free_slots == 99)
        workers = (await get(at.chatd, "", boss))["workers"]
        assert [worker["draining"] for worker in workers] == [False, False]


async def _is(at: AuthenticatedDaemons, who: Bearer, chat_id: str, status: str) -> bool:
    return await status_of(at, who, chat_id) == status


async def test_no_free_slots_are_said_of_workers_that_drain(dsn: str) -> None:
    async with fleet_of(dsn) as at:
        ann, boss = await at.new_caller_headers("ann"), await operator(at)
        await drain(at, boss, "put")
        await eventually(lambda: at.chatd.daemon.chat_tasks.free_slots == 0)
        chat = await create_chat_as(at.chatd, ann, content="hello")
        path = f"/api/v1/chats/{chat['id']}/explain"
        shown = (await at.chatd.api.http.get(path, headers=boss)).json()
        assert [reason["code"] for reason in shown["reasons"]] == ["no_free_slots"]


async def test_operators_interrupt_retry_and_archive_chats_of_any_owner(dsn: str) -> None:
    async with fleet_of(dsn) as at:
        ann, boss = await at.new_caller_headers("ann"), await operator(at)

        async def act(chat: dict[str, Any], action: str, key: str | None = None) -> Any:
            headers = boss | ({"idempotency-key": key} if key else {})
            path = f"/api/v1/fleet/chats/{chat['id']}/{action}"
            return await at.chatd.api.http.post(path, headers=headers)

        hung = await create_chat_as(at.chatd, ann, content="[[hang]]", title="hush")
        await eventually(lambda: _is(at, ann, hung["id"], "running"))
        assert_problem(await act(hung, "archive"), 409, "chat_tree_busy")
        for _ in range(2):
            stopped = await act(hung, "interrupt", "k")
            assert stopped.status_code == 200
            assert "hush" not in stopped.text
        await eventually(lambda: _is(at, ann, hung["id"], "waiting"))

        failed = await create_chat_as(at.chatd, ann, content="[[fails]]")
        await eventually(lambda: _is(at, ann, failed["id"], "error"))
        for _ in range(2):
            assert (await act(failed, "retry", "r")).status_code == 200
            await eventually(lambda: _is(at, ann, failed["id"], "waiting"))
        assert_problem(await act(failed, "retry"), 409, "nothing_to_retry")
        for _ in range(2):
            assert (await act(failed, "archive", "a")).json()["archived"] is True

        at.chatd.api.http.headers.update(
            await at.new_caller_headers("auditor", scopes=[AccessScope.READ_ALL])
        )
        by = {
            entry["transition"]: entry["actor"]["owner_id"]
            for chat in (hung, failed)
            for entry in await at.chatd.journal(chat["id"])
            if entry["transition"] in {"interrupt", "retry", "archive"}
        }
        assert by == {"interrupt": "boss", "retry": "boss", "archive": "boss"}
        at.chatd.api.http.headers.update(ann)
        assert [entry["actor"] for entry in await at.chatd.journal(failed["id"], "archive")] == [
            None
        ]


@pytest.fixture(scope="module")
def shared(module_dsn: str) -> Iterator[SharedDaemon]:
    with shared_daemon(module_dsn) as daemon:
        yield daemon


async def test_owners_without_the_scope_change_and_see_nothing(shared: SharedDaemon) -> None:
    async with shared.as_new_owner() as chatd:
        chat = await chatd.api.create()
        for method, path in (
            ("GET", ""),
            ("GET", "/history"),
            ("GET", "/chats"),
            ("POST", f"/chats/{chat['id']}/interrupt"),
            ("PUT", f"/workers/{chatd.daemon.worker_id}/drain"),
        ):
            answer = await chatd.api.http.request(method, f"/api/v1/fleet{path}")
            assert_problem(answer, 403, "insufficient_scope")


async def test_operators_get_the_refusals_that_owners_get(dsn: str) -> None:
    async with fleet_of(dsn) as at:
        ann, boss = await at.new_caller_headers("ann"), await operator(at)
        http = at.chatd.api.http
        for action in ("interrupt", "retry", "archive"):
            answer = await http.post(f"/api/v1/fleet/chats/{uuid4()}/{action}", headers=boss)
            assert_problem(answer, 404, "chat_not_found")
        failed = await create_chat_as(at.chatd, ann, content="[[fails]]")
        await eventually(lambda: _is(at, ann, failed["id"], "error"))
        path = f"/api/v1/fleet/chats/{failed['id']}"
        assert (await http.post(f"{path}/archive", headers=boss)).status_code == 200
        assert_problem(await http.post(f"{path}/retry", headers=boss), 409, "chat_archived")
    limits = {"max_active_chats": 1}
    async with authenticated_daemons(dsn, scripted(fails=FAILS, hang=HANG), limits=limits) as at:
        failed = await create_chat_as(at.chatd, ann, content="[[fails]]")
        await eventually(lambda: _is(at, ann, failed["id"], "error"))
        await create_chat_as(at.chatd, ann, content="[[hang]]")
        path = f"/api/v1/fleet/chats/{failed['id']}/retry"
        answer = await at.chatd.api.http.post(path, headers=boss)
        assert_problem(answer, 429, "too_many_active_chats")


async def test_unknown_workers_owners_and_statuses_are_refused(dsn: str) -> None:
    async with fleet_of(dsn) as at:
        boss, http = await operator(at), at.chatd.api.http
        for method in ("PUT", "DELETE"):
            path = f"/api/v1/fleet/workers/{uuid4()}/drain"
            assert_problem(await http.request(method, path, headers=boss), 404, "worker_not_found")
        for query in ("status=waiting", "status=odd", "owner_id=%00", "owner_id=%20", "owner=ann"):
            answer = await http.get(f"/api/v1/fleet/chats?{query}", headers=boss)
            assert_problem(answer, 422, "invalid_request")


async def test_history_counts_turns_and_calls_of_models(dsn: str) -> None:
    async with fleet_of(dsn) as at:
        ann, boss = await at.new_caller_headers("ann"), await operator(at)
        sampler = at.chatd.daemon.actors.history_sampler
        await sampler.step()
        before = await get(at.chatd, "/history", boss)
        chats = [
            await create_chat_as(at.chatd, ann, content=words)
            for words in ("hi", "[[fails]]", "ho")
        ]
        for chat, status in zip(chats, ("waiting", "error", "waiting"), strict=True):
            await eventually(lambda chat=chat, status=status: _is(at, ann, chat["id"], status))
        await sampler.step()
        shown = await get(at.chatd, "/history", boss)
        assert shown["worker_id"] == str(at.chatd.daemon.worker_id)
        assert len(shown["times"]) == len(before["times"]) + 1
        last = {series["name"]: series["values"][-1] for series in shown["series"]}
        assert (last["turns_finished"], last["turns_failed"]) == (2, 1)
        assert (last["model_calls"], last["model_errors"]) == (3, 1)
        assert last["first_part_median_seconds"] > 0
        [model] = shown["models"]
        assert (model["model"], model["provider"]) == ("one", "p")
        assert (model["calls"], model["errors"]) == (3, 1)
        assert model["errors_by_kind"] == {"auth": 1}
        assert model["error_rate"] == pytest.approx(1 / 3)
        await sampler.step()
        again = {
            s["name"]: s["values"][-1] for s in (await get(at.chatd, "/history", boss))["series"]
        }
        assert (again["turns_finished"], again["first_part_median_seconds"]) == (0, None)
