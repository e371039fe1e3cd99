"""SIGHUP to a real process applies the whole new configuration or nothing, and no request fails."""

import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from support.database_inspector import inspect_database
from support.eventually import eventually
from support.openai_stub import openai_stub
from support.processes import ChatdProcess, chatd_process
from support.sse_client import ApiClient, ChatView, client
from support.systemd_stub import systemd_stub

QUICK = "You hear version {version}: {{message}}"
SLOW = "One two three four five six seven eight nine ten eleven twelve, says version {version}."


def configuration(version: int, *more: str) -> str:
    """Return a configuration with the models of this version, and with further sections."""
    return f"""
[providers.fake-{version}]
kind = "scripted"
[[providers.fake-{version}.script]]
text = "{QUICK.format(version=version)}"
[[providers.fake-{version}.scripts.slow]]
text = "{SLOW.format(version=version)}"
chunks = 20
delay_seconds = 0.05
[[providers.fake-{version}.scripts.hang]]
hang = true
[models.fake]
provider = "fake-{version}"
model = "fake-1"
""" + "\n".join(more)


@asynccontextmanager
async def reloadable(
    tmp_path: Path, dsn: str, first: str | None = None
) -> AsyncIterator[tuple[ChatdProcess, ApiClient]]:
    with chatd_process(tmp_path, dsn, scripts=first or configuration(1)) as chatd:
        await chatd.wait_until_ready()
        await chatd.wait_for_log("daemon.ready")
        async with client(chatd) as api:
            yield chatd, api


async def reload(
    chatd: ChatdProcess, text: str, event: str = "config.reloaded"
) -> dict[str, object]:
    """Write this configuration, send SIGHUP and wait for the outcome in the log."""
    chatd.config.write_text(text)
    before = len(chatd.logged(event))
    chatd.send_signal(signal.SIGHUP)
    await eventually(
        lambda: len(chatd.logged(event)) > before, describe=lambda: "".join(chatd.raw_lines[-20:])
    )
    return chatd.logged(event)[-1]


async def answered(api: ApiClient, content: str) -> str:
    chat_id = (await api.create(content))["id"]
    await api.wait_for_status(chat_id, "waiting")
    (text,) = await api.texts(chat_id)
    return text


@pytest.mark.slow
async def test_reloads_under_load_lose_nothing(tmp_path: Path, dsn: str) -> None:
    async with reloadable(tmp_path, dsn) as (chatd, api):
        views: dict[str, ChatView] = {}
        done = anyio.Event()

        async def send_messages(prefix: str) -> None:
            number = 0
            while not done.is_set():
                number += 1
                slow = "[[slow]] " if number % 3 == 0 else ""
                chat_id = (await api.create(f"{slow}{prefix}{number}"))["id"]
                view = views[chat_id] = ChatView()
                await api.follow(chat_id, view, lambda view: view.status in {"waiting", "error"})

        async with anyio.create_task_group() as group:
            for prefix in "abcdefgh":
                group.start_soon(send_messages, prefix)
            await eventually(lambda: len(views) > 24)
            for version in range(2, 8):
                before = len(views)
                await reload(chatd, configuration(version))
                await eventually(lambda before=before: len(views) > before + 8)
            done.set()
        assert len(views) > 50
        heard = set()
        for chat_id, view in views.items():
            asked, said = view.messages.values()
            version = int(re.search(r"version (\d)", said)[1])  # type: ignore[index]
            whole = SLOW.format(version=version) if "[[slow]]" in asked else None
            assert said == (whole or f"You hear version {version}: {asked}"), view
            assert (await api.chat(chat_id))["last_error"] is None
            assert await api.texts(chat_id) == [said]
            heard.add(version)
        assert {1, 7} <= heard
        assert not chatd.logged("config.rejected")
        assert not chatd.logged("chat.lost")
        # Nobody uses the six that were replaced any more.
        await eventually(lambda: len(chatd.logged("config.old_providers_closed")) == 6)


async def test_turn_keeps_its_model_during_reload(tmp_path: Path, dsn: str) -> None:
    async with (
        openai_stub([{"content": "see."}]) as talker,
        reloadable(tmp_path, dsn, talker.provider_config("a")) as (chatd, api),
    ):
        chat_id = (await api.create("go"))["id"]
        await api.follow(chat_id, ChatView(), lambda view: view.preview != "")
        said = await reload(chatd, configuration(2))
        keys = said["keys"]
        assert isinstance(keys, list)
        assert {"providers.fake-2", "providers.talker"} <= {*keys}
        assert await answered(api, "hello") == "You hear version 2: hello"
        assert not chatd.logged("config.old_providers_closed")
        talker.proceed.set()
        await api.wait_for_status(chat_id, "waiting")
        assert await api.texts(chat_id) == ["Let me see."]
        closed = await chatd.wait_for_log("config.old_providers_closed")
        assert closed["providers"] == ["talker"]
        assert talker.calls == {"a": 1}


async def test_invalid_configuration_is_rejected_with_keys(tmp_path: Path, dsn: str) -> None:
    with systemd_stub(str(tmp_path / "notify")) as manager:
        how = {"scripts": configuration(1), "environment": manager.environment()}
        with chatd_process(tmp_path, dsn, **how) as chatd:
            await chatd.wait_until_ready()
            await chatd.wait_for_log("daemon.ready")
            async with client(chatd) as api:
                bad = configuration(2, "[turn]", "max_step = 3", "[worker]", 'max_chats = "many"')
                said = await reload(chatd, bad, "config.rejected")
                assert said["keys"] == ["turn.max_step", "worker.max_chats"]
                assert "did you mean turn.max_steps?" in str(said["problems"])
                assert said["level"] == "error"
                assert await answered(api, "hello") == "You hear version 1: hello"
                await eventually(
                    lambda: manager.matching("STATUS") and len(manager.matching("READY")) == 2
                )
                assert "rejected: turn.max_step, worker.max_chats" in str(manager.notifications)
                # A problem that only building the providers finds is rejected as well.
                bad = configuration(2).replace("chunks = 20", "chunks = 0")
                said = await reload(chatd, bad, "config.rejected")
                assert said["keys"] == ["providers.fake-2.scripts.slow.0.chunks"]
                chatd.config.write_text("this is no TOML")
                said = await reload(chatd, "this is no TOML", "config.rejected")
                assert said["keys"] == [str(chatd.config)]
                assert await answered(api, "hello") == "You hear version 1: hello"
                await reload(chatd, configuration(3))
                assert await answered(api, "hello") == "You hear version 3: hello"
                assert (await api.http.get("/readyz")).status_code == 200
            await eventually(lambda: len(manager.matching("READY")) == 5)
        assert manager.key_order("RELOADING", "READY") == ["READY", *["RELOADING", "READY"] * 4]
        _, first = manager.matching("RELOADING")[0]
        assert int(first["MONOTONIC_USEC"]) > 0


async def test_reload_applies_limits_and_log_and_names_the_rest(tmp_path: Path, dsn: str) -> None:
    async with reloadable(tmp_path, dsn) as (chatd, api):
        more = ["[worker]", "max_queued_messages = 1", "max_chats = 3", "heartbeat_seconds = 4"]
        more += ["[database]", "pool_size = 3", "[turn]", "max_steps = 7"]
        said = await reload(chatd, configuration(1, *more))
        assert said["keys"] == [
            *("worker.max_chats", "worker.max_queued_messages", "turn.max_steps")
        ]
        waiting = ["database.pool_size", "worker.heartbeat_seconds"]
        assert (await chatd.wait_for_log("config.needs_restart"))["keys"] == waiting
        async with inspect_database(
            dsn
        ) as db:  # others, and who asks why a chat waits, are told of it too

            async def listed() -> bool:
                return await db.fetch_all("SELECT max_chats FROM workers") == [(3,)]

            await eventually(listed)
        chat_id = (await api.create("[[hang]]"))["id"]
        await api.send(chat_id, "one")
        answer = await api.http.post(f"/api/v1/chats/{chat_id}/messages", json={"content": "two"})
        assert answer.status_code == 429, answer.text
        # They are named until they are in force, and what is in force already is not said again.
        said = await reload(chatd, configuration(1, *more))
        assert said["keys"] == []
        await eventually(lambda: len(chatd.logged("config.needs_restart")) == 2)
        assert [line["keys"] for line in chatd.logged("config.needs_restart")] == [waiting, waiting]
        chatd.config.write_text(configuration(1, "[log]", 'level = "error"'))
        chatd.send_signal(signal.SIGHUP)
        await wait_for_unlogged_turn(chatd, api, lambda: len(chatd.logged("chat.turn")))


async def test_reload_applies_request_limits(tmp_path: Path, dsn: str) -> None:
    async with reloadable(tmp_path, dsn) as (chatd, api):

        async def problem_code(**body: object) -> str | None:
            answer = await api.http.post("/api/v1/chats", json=body)
            return None if answer.status_code == 201 else answer.json()["code"]

        labels = {"a": "1", "b": "2"}
        assert await problem_code(labels=labels, system_prompt=300 * "x") is None
        more = ["[limits]", "max_labels = 1", "[http]", "max_body_bytes = 200"]
        said = await reload(chatd, configuration(1, *more))
        assert said["keys"] == ["http.max_body_bytes", "limits.max_labels"]
        assert await problem_code(labels=labels) == "too_many_labels"
        assert await problem_code(system_prompt=300 * "x") == "body_too_large"
        await reload(chatd, configuration(1, "[limits]", "requests_per_second = 1"))
        assert await problem_code(labels=labels, system_prompt=300 * "x") in {
            None,
            "too_many_requests",
        }
        await eventually(lambda: is_rejected(problem_code, "too_many_requests"))
        await reload(chatd, configuration(1, "[limits]", "requests_per_second = 0"))
        for _ in range(20):
            assert await problem_code() is None


async def is_rejected(problem_code: Callable[[], Awaitable[str | None]], code: str) -> bool:
    return await problem_code() == code


async def wait_for_unlogged_turn(
    chatd: ChatdProcess, api: ApiClient, turns: Callable[[], int]
) -> None:
    """Wait until a turn ends without a line in the log."""

    async def turn_is_unlogged() -> bool:
        before = turns()
        chat_id = (await api.create("hello"))["id"]
        await api.wait_for_status(chat_id, "waiting")
        return before == turns()

    await eventually(turn_is_unlogged, describe=lambda: "".join(chatd.raw_lines[-5:]))
