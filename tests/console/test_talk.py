"""Talk in a real browser: from the first message on, whatever is done or happens meanwhile."""

from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, expect
from support.axe import assert_accessible
from support.browser import visiting
from support.console import (
    SCRIPTS,
    SECTIONS,
    WORDS,
    answers,
    chatting,
    create_token,
    origin,
    send,
    signed_in,
)
from support.eventually import TIMEOUT_SECONDS, eventually
from support.providers import scripted
from support.shared_daemon import SharedDaemon, shared_daemon
from support.sse_client import ApiClient

expect.set_options(timeout=1000 * TIMEOUT_SECONDS)


@pytest.fixture(scope="module")
def console(module_dsn: str) -> Iterator[SharedDaemon]:
    with shared_daemon(module_dsn, scripted(**SCRIPTS), **SECTIONS) as daemon:
        yield daemon


async def test_first_visit_to_first_answer(browser: Browser, console: SharedDaemon) -> None:
    async with signed_in(browser, console) as (visit, _):
        await visit.go("/")
        await expect(visit.page.get_by_text("No chats yet")).to_be_visible()
        await assert_accessible(visit.page)
        await visit.press("n")
        await visit.page.keyboard.type("Hello there")
        await visit.press("Enter")
        await visit.page.wait_for_url("**/chats/*")
        await expect(answers(visit)).to_have_text("You said: Hello there")
        await expect(visit.page.locator("#status")).to_have_text("ready")
        await assert_accessible(visit.page)
        await send(visit, "And again")
        await expect(answers(visit)).to_have_text(["You said: Hello there", "You said: And again"])
        await expect(visit.page.locator("#announcement")).to_have_text("You said: And again")
        await visit.page.evaluate("document.activeElement.blur()")
        await visit.press("u")
        await expect(visit.page.locator("a.chat .title")).to_have_text("Hello there")


async def test_answer_goes_on_after_a_reload(browser: Browser, console: SharedDaemon) -> None:
    async with chatting(browser, console, "[[slow]]") as (visit, _, _):
        live = visit.page.locator("#preview .live")
        for _ in range(2):
            await expect(live).to_contain_text("w20 ")
            await visit.page.reload()
        await expect(live).to_contain_text("w30 ")
        shown = await live.text_content()
        assert shown
        assert WORDS.startswith(shown)  # no letter twice, none missing
        await expect(answers(visit)).to_have_text(WORDS)
        await expect(live).to_have_count(0)


async def test_page_in_the_background_holds_no_connection_and_misses_nothing(
    browser: Browser, console: SharedDaemon
) -> None:
    script = """Object.defineProperty(document, "visibilityState", {get: () => window.seen ?? "visible"});
      window.turn = (seen) => {
        window.seen = seen;
        document.dispatchEvent(new Event("visibilitychange"));
      }"""
    assert console._authenticated is not None
    hub = console._authenticated.chatd.daemon.services.hub
    async with chatting(browser, console, "one", init_scripts=[script]) as (visit, api, chat):
        await expect(answers(visit)).to_have_text("You said: one")
        await visit.page.evaluate("turn('hidden')")
        await eventually(lambda: hub.subscriber_count == 0)
        await api.send(chat, "two")
        await eventually(lambda: is_answered(api, chat))
        await expect(answers(visit)).to_have_count(1)
        await visit.page.evaluate("turn('visible')")
        await expect(answers(visit)).to_have_text(["You said: one", "You said: two"])


async def is_answered(api: ApiClient, chat_id: str) -> bool:
    return len(await api.messages(chat_id)) == 4


async def test_stop_keeps_what_was_said(browser: Browser, console: SharedDaemon) -> None:
    async with chatting(browser, console, "[[endless]]") as (visit, _, _):
        await expect(visit.page.locator("#preview .live")).to_contain_text("word word")
        await visit.press("Escape")
        await expect(visit.page.locator("#status")).to_have_text("ready")
        await expect(answers(visit)).to_contain_text("word word")
        await expect(visit.page.locator("#stop")).to_be_hidden()
        await expect(visit.page.locator("#messages article.assistant header")).to_contain_text(
            "interrupted"
        )


async def test_failed_answer_says_why_and_is_tried_again(
    browser: Browser, console: SharedDaemon
) -> None:
    async with chatting(browser, console, "[[fail]]") as (visit, _, chat_id):
        card = visit.page.locator(".card.failed")
        await expect(card).to_contain_text("The answer failed.")
        await expect(card.get_by_role("link")).to_have_attribute("href", f"/chats/{chat_id}/why")
        await assert_accessible(visit.page)
        first = await visit.page.locator("#status").get_attribute("data-status")
        assert first == "error"
        await card.get_by_role("button", name="Try again").click()
        await expect(card).to_contain_text("The answer failed.")


@pytest.mark.parametrize("decision", ["Allow", "Deny"])
async def test_call_is_approved_or_not(
    browser: Browser, console: SharedDaemon, decision: str
) -> None:
    async with chatting(browser, console, "[[pay]]") as (visit, api, chat_id):
        card = visit.page.locator(".card.asks")
        await expect(card).to_contain_text("May pay run?")
        await expect(card.locator("pre")).to_contain_text('"note": "rent"')
        await assert_accessible(visit.page)
        if decision == "Deny":
            await card.get_by_label("Reason").fill("not today")
        await card.get_by_role("button", name=decision).click()
        await expect(answers(visit)).to_have_text("Paid or not.")
        await expect(card).to_have_count(0)
        tools = visit.page.locator("#messages article.tool")
        await expect(tools).to_contain_text("failed")
        messages = await api.messages(chat_id)
        [result] = next(m for m in messages if m["role"] == "tool")["content"]
        assert ("not today" in str(result["result"])) is (decision == "Deny")


async def test_question_is_answered(browser: Browser, console: SharedDaemon) -> None:
    async with chatting(browser, console, "[[ask]]") as (visit, _, _):
        card = visit.page.locator(".card.asks")
        await expect(card).to_contain_text("Which colour?")
        await card.get_by_role("combobox").select_option("blue")
        await card.get_by_role("button", name="Answer").click()
        await expect(answers(visit)).to_contain_text("blue")


async def test_message_is_edited_and_answered_again(
    browser: Browser, console: SharedDaemon
) -> None:
    async with chatting(browser, console, "first") as (visit, _, _):
        await expect(answers(visit)).to_have_text("You said: first")
        user = visit.page.locator("#messages article.user")
        await user.get_by_role("button", name="Edit").click()
        await user.get_by_label("Edited message").fill("second <b>")
        await user.get_by_role("button", name="Send edited").click()
        await expect(answers(visit)).to_have_text("You said: second <b>")
        await expect(user.locator(".text")).to_have_text("second <b>")
        again = visit.page.locator("#messages article.assistant").get_by_role(
            "button", name="Answer again"
        )
        before = await visit.page.locator("#messages article.assistant").get_attribute("id")
        await again.click()
        await visit.page.get_by_role("button", name="Later messages are dropped").click()
        await expect(visit.page.locator(f"#{before}")).to_have_count(0)
        await expect(answers(visit)).to_have_text("You said: second <b>")


async def test_queue_is_edited_removed_and_promoted(
    browser: Browser, console: SharedDaemon
) -> None:
    async with chatting(browser, console, "[[endless]]") as (visit, _, _):
        await expect(visit.page.locator("#preview .live")).to_contain_text("word")
        rows = visit.page.locator("[data-queued]")
        for number, text in enumerate(("one", "two", "three"), 1):
            await send(visit, text)
            await expect(rows).to_have_count(number)
        await assert_accessible(visit.page)
        await rows.nth(0).get_by_role("button", name="Remove").click()
        await expect(rows.locator("p")).to_have_text(["two", "three"])
        await rows.nth(0).get_by_role("button", name="Edit").click()
        await expect(visit.page.locator("#message")).to_have_value("two")
        await expect(rows.locator("p")).to_have_text(["three"])
        await rows.nth(0).get_by_role("button", name="Answer next").click()
        await expect(answers(visit).last).to_have_text("You said: three")
        await expect(rows).to_have_count(0)
        await visit.page.reload()
        await expect(visit.page.locator("#message")).to_have_value("two")  # a draft survives


async def test_markdown_reasoning_and_links_to_messages(
    browser: Browser, console: SharedDaemon
) -> None:
    async with chatting(browser, console, "[[rich]]", viewport="narrow") as (visit, api, chat_id):
        await expect(answers(visit).locator("h4")).to_have_text("Title")
        await expect(visit.page.locator("summary", has_text="Reasoning")).to_be_visible()
        await assert_accessible(visit.page)
        width = await visit.page.evaluate("document.documentElement.scrollWidth")
        assert width == 360
        last = (await api.messages(chat_id))[-1]["id"]
        await visit.go(f"/chats/{chat_id}?at={last}#m-{last}")
        await expect(visit.page.locator(f"#m-{last}:target")).to_be_visible()


async def test_title_labels_archive_fork_and_delete(
    browser: Browser, console: SharedDaemon
) -> None:
    async with chatting(browser, console, "hello") as (visit, api, chat_id):
        await expect(answers(visit)).to_have_text("You said: hello")
        await visit.page.get_by_text("Change", exact=True).click()
        await visit.page.get_by_label("Title").fill("<i>Mine</i>")
        await visit.page.get_by_label("Labels").fill("topic: physics: old\n\nplain")
        await visit.page.get_by_role("button", name="Save").click()
        await expect(visit.page.get_by_role("heading", level=1)).to_have_text("<i>Mine</i>")
        chat = await api.chat(chat_id)
        assert chat["labels"] == {"topic": "physics: old", "plain": ""}
        await visit.page.get_by_text("Change", exact=True).click()
        await visit.page.get_by_role("button", name="Archive").click()
        await expect(visit.page.get_by_role("button", name="Unarchive")).to_be_attached()
        await visit.page.get_by_role("button", name="Fork here").last.click()
        await visit.page.wait_for_url(lambda url: "/chats/" in url and chat_id not in url)
        await expect(answers(visit)).to_have_text("You said: hello")
        await visit.page.get_by_text("Change", exact=True).click()
        await visit.page.get_by_role("button", name="Delete").click()
        await visit.page.get_by_role("button", name="for good").click()
        await visit.page.wait_for_url(f"{visit.origin}/")


async def test_list_is_live_and_filtered(browser: Browser, console: SharedDaemon) -> None:
    async with signed_in(browser, console) as (visit, api):
        await visit.go("/")
        await expect(visit.page.get_by_text("No chats yet")).to_be_visible()
        await api.create("[[fail]] one")
        await api.create("two")
        titles = visit.page.locator("a.chat .title")
        await expect(titles).to_have_count(2)
        await expect(visit.page.locator(".is-error")).to_be_visible()
        await visit.page.get_by_label("Status").select_option("error")
        await expect(titles).to_have_text("[[fail]] one")
        assert "status=error" in visit.page.url
        await visit.go("/?q=tw")
        await expect(titles).to_have_text("two")
        await visit.go("/?label=nothing&status=waiting")
        await expect(visit.page.get_by_text("No chat is like this.")).to_be_visible()


async def test_session_that_ends_leads_to_the_sign_in_and_back(
    browser: Browser, console: SharedDaemon
) -> None:
    async with chatting(browser, console, "hello") as (visit, _, chat_id):
        await expect(answers(visit)).to_have_text("You said: hello")
        visit.guard.allow("401")
        await visit.page.fill("#message", "more")
        await visit.context.clear_cookies()
        await visit.page.evaluate("document.getElementById('composer').requestSubmit()")
        await visit.page.wait_for_url("**/sign-in?*")
        assert f"next=%2Fchats%2F{chat_id}" in visit.page.url
        await expect(visit.page.get_by_text("Your session has ended.")).to_be_visible()
        await assert_accessible(visit.page)


async def test_sign_in_and_sign_out(browser: Browser, console: SharedDaemon) -> None:
    _, secret = await create_token(console, "somebody")
    url = origin(console)
    async with visiting(browser, url) as visit:
        visit.guard.allow("422")
        await visit.go("/?status=error")
        await assert_accessible(visit.page)
        for typed in ("chatd_wrong", secret):
            await visit.page.keyboard.type(typed)
            await visit.press("Enter")
            if typed != secret:
                await expect(visit.page.get_by_role("alert")).to_contain_text("unknown, expired")
        await visit.page.wait_for_url(f"{url}/?status=error")
        assert secret not in await visit.page.evaluate("document.cookie")
        await visit.page.get_by_role("button", name="Sign out").click()
        await visit.page.wait_for_url(f"{url}/sign-in")
        visit.guard.allow("401|404")
        await visit.go("/chats/00000000-0000-4000-8000-000000000000")
        assert "/sign-in" in visit.page.url


async def test_chat_of_another_owner_is_not_there(browser: Browser, console: SharedDaemon) -> None:
    async with (
        signed_in(browser, console) as (visit, _),
        signed_in(browser, console) as (_, other),
    ):
        chat = await other.create("secret")
        visit.guard.allow("404")
        await visit.go(f"/chats/{chat['id']}")
        await expect(visit.page.get_by_role("heading", level=1)).to_have_text("Nothing here")
        await expect(visit.page.get_by_text("secret")).to_have_count(0)
        await assert_accessible(visit.page)


async def test_file_is_sent_and_shown(browser: Browser, console: SharedDaemon) -> None:
    async with chatting(browser, console, "hello") as (visit, _, _):
        await expect(answers(visit)).to_have_text("You said: hello")
        upload = {"name": "a.txt", "mimeType": "text/plain", "buffer": b"text of a file"}
        await visit.page.set_input_files("input[type=file]", files=[upload])  # type: ignore[list-item]
        await send(visit, "look")
        link = visit.page.get_by_role("link", name="a.txt")
        await expect(link).to_be_visible()
        await expect(answers(visit)).to_have_count(2)
