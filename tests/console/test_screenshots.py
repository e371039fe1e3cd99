"""Screenshots of the documentation: with ``CHATD_TEST_SCREENSHOTS=1`` into ``docs/images``.

Without it they are skipped: other tests open these pages.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from anyio import Event
from playwright.async_api import Browser, expect
from support.browser import visiting
from support.eventually import TIMEOUT_SECONDS, eventually
from support.in_process import InProcessDaemon, running_daemon
from support.providers import FunctionProvider, finished, text_delta, tool_call_delta

from chatd.domain.message import Role, text_of
from chatd.domain.outcomes import CallPurpose, TurnOutcome
from chatd.llm.errors import ProviderError
from chatd.llm.provider import Delta, ModelRequest, PartDelta
from chatd.telemetry.history import MAX_SAMPLES

WRITES = bool(os.environ.get("CHATD_TEST_SCREENSHOTS"))
IMAGES = Path(__file__).parents[2] / "docs" / "images"
LOOKS: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"dark": True},
    "narrow": {"viewport": "narrow"},
}
CLOCK = {"name": "weather", "parameters": {"type": "object"}}
RAINBOW = """Sunlight enters a raindrop and is **bent**, reflected at its back, and bent again as it leaves.

Each colour is bent by a slightly different angle:

| Colour | Angle |
| --- | --- |
| red | 42° |
| violet | 40° |

So you see each colour from *other* drops, and together they make an arc. In code:

```python
angle = 4 * asin(sin(i) / 1.33) - 2 * i
```
"""


async def respond(request: ModelRequest) -> AsyncIterator[Delta]:
    """Answer by what is asked. The first attempt at each story of the night fails."""
    asked = text_of(next(m for m in reversed(request.messages) if m.role is Role.USER).content)
    has_results = request.messages[-1].role is Role.TOOL
    if "form" in asked:
        thought = "They ask for an explanation. A table helps."
        yield PartDelta({"index": 0, "type": "reasoning", "text": thought})
        yield text_delta(RAINBOW, index=1)
    elif "night" in asked:
        if not FAILED_ONCE:
            FAILED_ONCE.append(asked)
            raise ProviderError("rate limit", status_code=429)
        yield text_delta("Light of the moon makes rainbows, too.")
    elif has_results:
        raise ProviderError("no answer", status_code=500)
    elif "Bern" in asked or "Oslo" in asked:
        yield tool_call_delta("weather", "a", '{"city": "Bern"}')
        yield finished("tool_call")
        return
    else:
        yield text_delta("Once upon a time")
        await Event().wait()
    yield finished()


FAILED_ONCE: list[str] = []


@asynccontextmanager
async def busy_daemon(dsn: str) -> AsyncIterator[InProcessDaemon]:
    """Run a daemon with chats in several states, and an hour of history."""
    sections: dict[str, Any] = {
        "console": {"enabled": True},
        "metrics": {"refresh_interval_seconds": 0.1},
        "worker": {"heartbeat_seconds": 0.2, "lease_seconds": 60, "shutdown_grace_seconds": 0},
        "turn": {"max_attempts": 2, "backoff_seconds": 0.2, "backoff_max_seconds": 0.3},
    }
    provider = FunctionProvider(respond)
    provider.name = "example"
    async with running_daemon(dsn, provider, models=["fast"], **sections) as chatd:
        fill_history(chatd)
        yield chatd


def fill_history(chatd: InProcessDaemon) -> None:
    """Give the charts an hour to show, the same in each run."""
    random, turns = Random(7), chatd.daemon.services.metrics.turns
    history, now = chatd.daemon.actors.history_sampler._history, datetime.now(UTC)
    leased = chatd.daemon.services.metrics.leases.leased_chats
    callback, chats = leased.callback, [3.0]
    leased.callback = lambda: chats[0]
    for number in range(MAX_SAMPLES):
        for _ in range(random.randint(1, 5 + 4 * (number % 60 > 40))):
            turns.ended.add(TurnOutcome.FINISHED)
            turns.provider_calls.add("fast", CallPurpose.ANSWER)
            turns.first_part.observe(random.lognormvariate(-0.7, 0.5), "fast")
            turns.tokens.add("fast", CallPurpose.ANSWER, "output", amount=random.randint(20, 400))
        if random.random() < 0.07 + 0.3 * (220 < number < 240):
            turns.ended.add(TurnOutcome.FAILED)
            turns.provider_calls.add("fast", CallPurpose.ANSWER)
            turns.provider_errors.add("fast", CallPurpose.ANSWER, "overloaded")
        chatd.daemon.services.metrics.process.loop_lag.observe(random.expovariate(400))
        chats[0] = max(chats[0] + random.randint(-1, 1), 1)
        history._now = lambda n=number: now - timedelta(seconds=10 * (MAX_SAMPLES - n))
        history.sample()
    history._now = lambda: datetime.now(UTC)
    leased.callback = callback


@pytest.mark.slow
@pytest.mark.skipif(not WRITES, reason="CHATD_TEST_SCREENSHOTS is not set")
async def test_pages_of_the_documentation(browser: Browser, dsn: str) -> None:
    async with busy_daemon(dsn) as chatd:
        api = chatd.api
        talk = await api.create("How do rainbows form?", labels={"topic": "physics"})
        await api.wait_for_status(talk["id"], "waiting")
        why = await api.create("Are there rainbows at night?", tools=[CLOCK])
        await api.wait_for_status(why["id"], "waiting")
        await api.send(why["id"], "And one in Bern today?")
        await api.wait_for_status(why["id"], "requires_action")
        results = [{"tool_call_id": "a", "result": {"sky": "rain, then sun"}}]
        path = f"/api/v1/chats/{why['id']}/tool-results"
        await api.http.post(path, json={"results": results})
        await api.wait_for_status(why["id"], "error")
        for number in range(3):
            await api.create(f"Tell me story {number}")
        await api.create("And in Oslo?", tools=[CLOCK])

        async def staged() -> bool:
            stages = (await api.http.get("/api/v1/fleet")).json()["stages"]
            return sum(stage["chats"] for stage in stages) == 3

        await eventually(staged)
        pages = {
            "talk": f"/chats/{talk['id']}",
            "why": f"/chats/{why['id']}/why",
            "fleet": "/fleet",
            "chats": "/",
        }
        origin = str(api.http.base_url).rstrip("/")
        for look, options in LOOKS.items():
            async with visiting(browser, origin, **options) as visit:
                for page, path in pages.items():
                    await visit.go(path)
                    await expect(visit.page.locator("h1")).to_be_visible(
                        timeout=1000 * TIMEOUT_SECONDS
                    )
                    await visit.page.screenshot(path=IMAGES / f"console-{page}-{look}.png")
