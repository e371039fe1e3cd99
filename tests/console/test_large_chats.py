"""Ten thousand messages, and ten thousand chats: pages of them open at once."""

from collections.abc import Iterator
from time import perf_counter
from uuid import uuid4

import pytest
from playwright.async_api import Browser, expect
from support.console import in_daemon, signed_in
from support.eventually import TIMEOUT_SECONDS
from support.shared_daemon import SharedDaemon, shared_daemon

expect.set_options(timeout=1000 * TIMEOUT_SECONDS)

MANY = 10_000
PATIENCE_SECONDS = 5
"""Limit on a busy machine. On a quiet one it is well below a second, which ``docs/console.md`` has."""


@pytest.fixture(scope="module")
def console(module_dsn: str) -> Iterator[SharedDaemon]:
    with shared_daemon(module_dsn, console={"enabled": True}) as daemon:
        yield daemon


async def execute(console: SharedDaemon, statement: str, *arguments: object) -> None:
    assert console._authenticated is not None
    await in_daemon(console, console._authenticated.database.fetchrow(statement, *arguments))


async def test_chat_of_ten_thousand_messages(browser: Browser, console: SharedDaemon) -> None:
    async with signed_in(browser, console) as (visit, api):
        other, chat_id = await api.create(), uuid4()
        await execute(
            console,
            "INSERT INTO chats (id, owner_id, root_chat_id, last_model_config_id, version)"
            f" VALUES ($1, $2, $1, $3, {MANY + 1})",
            chat_id,
            other["owner_id"],
            other["last_model_config_id"],
        )
        await execute(
            console,
            "INSERT INTO chat_messages (chat_id, id, version, role, content)"
            " SELECT $1, chat_message_id(n, 1), n, CASE n % 2 WHEN 1 THEN 'user' ELSE 'assistant' END,"
            " jsonb_build_array(jsonb_build_object('type', 'text', 'text', 'message ' || n))"
            f" FROM generate_series(2, {MANY + 1}) AS n",
            chat_id,
        )
        articles = visit.page.locator("#messages article")
        began = perf_counter()
        await visit.go(f"/chats/{chat_id}")
        await expect(articles.last).to_contain_text(f"message {MANY + 1}")
        assert perf_counter() - began < PATIENCE_SECONDS
        await expect(articles).to_have_count(40)
        await expect(articles.last).to_be_in_viewport()
        await visit.page.get_by_role("button", name="Older messages").click()
        await expect(articles).to_have_count(80)
        texts = await articles.locator(".text").all_inner_texts()
        assert texts == [f"message {n}" for n in range(MANY - 78, MANY + 2)]
        middle = 5000 * 1_000_000 + 1
        await visit.go(f"/chats/{chat_id}?at={middle}#m-{middle}")
        await expect(visit.page.locator(f"#m-{middle}")).to_be_in_viewport()
        await expect(visit.page.get_by_role("link", name="newest messages")).to_be_attached()


async def test_filter_of_ten_thousand_chats(browser: Browser, console: SharedDaemon) -> None:
    async with signed_in(browser, console) as (visit, api):
        chat = await api.create()
        await execute(
            console,
            "INSERT INTO chats (id, owner_id, root_chat_id, title, last_model_config_id, labels)"
            " SELECT id, $1, id, 'chat ' || n, $2,"
            " CASE n % 100 WHEN 0 THEN '{\"kind\": \"round\"}'::jsonb ELSE '{}' END"
            f" FROM (SELECT gen_random_uuid() AS id, n FROM generate_series(1, {MANY}) AS n) AS new",
            chat["owner_id"],
            chat["last_model_config_id"],
        )
        titles = visit.page.locator("a.chat .title")
        began = perf_counter()
        await visit.go("/")
        await expect(titles).to_have_count(50)
        assert perf_counter() - began < PATIENCE_SECONDS
        await visit.page.get_by_label("Labels").fill("kind:round")
        await visit.page.get_by_label("Search", exact=True).fill("chat 77")
        began = perf_counter()
        await visit.page.get_by_role("button", name="Find").click()
        await expect(titles).to_have_text(["chat 7700"])
        assert perf_counter() - began < PATIENCE_SECONDS
        await visit.go("/?label=kind")
        seen = set(await titles.all_inner_texts())
        await visit.page.get_by_role("link", name="Older chats").click()
        await visit.page.wait_for_url("**cursor=**")
        await expect(titles).to_have_count(50)
        assert len(seen | set(await titles.all_inner_texts())) == MANY // 100
