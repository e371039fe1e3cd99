"""The process that answers is killed in the middle: the page goes on, and shows no letter twice."""

from contextlib import ExitStack
from pathlib import Path

from playwright.async_api import Browser, expect
from support.browser import visiting
from support.eventually import TIMEOUT_SECONDS
from support.processes import SCRIPTS, ChatdProcess, chatd_process

SETTINGS = "[console]\nenabled = true\n"
TEXT = "One word after the other the answer comes, slowly, so that one can cut it. " * 3

RECORD = """setInterval(() => {
  const live = document.querySelector("#preview")?.textContent;
  if (live && live !== window.shown?.at(-1)) (window.shown ??= []).push(live);
}, 20)"""


async def test_answer_goes_on_after_its_process_was_killed(
    browser: Browser, dsn: str, tmp_path: Path
) -> None:
    with ExitStack() as stack:

        def start(name: str, port: int) -> ChatdProcess:
            process = chatd_process(
                tmp_path, dsn, name=name, settings=SETTINGS, scripts=SCRIPTS, port=port
            )
            return stack.enter_context(process)

        first = start("first", 0)
        await first.wait_until_ready()
        async with visiting(browser, first.url, init_scripts=[RECORD]) as visit:
            visit.guard.allow("net::ERR_|503")
            await visit.go("/")
            await visit.page.fill("#first-message", "[[slow]]")
            await visit.page.press("#first-message", "Enter")
            await visit.page.wait_for_url("**/chats/*")
            live = visit.page.locator("#preview .live")
            await expect(live).to_contain_text("the answer comes")
            first.kill()
            await expect(visit.page.locator("#connection")).to_contain_text("connection is lost")
            await start("second", first.port).wait_until_ready()
            answer = visit.page.locator("#messages article.assistant .text")
            await expect(answer).to_have_text(TEXT.strip(), timeout=2000 * TIMEOUT_SECONDS)
            await expect(live).to_have_count(0)
            await expect(visit.page.locator("#status")).to_have_text("ready")
            shown = await visit.page.evaluate("window.shown")
            assert len(shown) > 10
            assert [text for text in shown if not TEXT.startswith(text)] == []
