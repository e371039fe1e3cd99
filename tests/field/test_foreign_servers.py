"""Turns against each of three model servers that nobody here wrote, with faults switched on.

Every turn must end, either with a complete answer or with a failure that was classified.
``CHATD_TEST_TRIALS=2`` makes a hundred turns of each.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from support.eventually import TIMEOUT_SECONDS, eventually
from support.foreign_servers import (
    PARALLEL_REQUESTS,
    ForeignServer,
    aimock,
    aimock_available,
    llama_cpp,
    llmock,
    llmock_available,
)
from support.processes import chatd_process
from support.sse_client import ApiClient, client, text_of
from support.trials import trials

from chatd.domain.failure import FailureKind
from chatd.embedded import local_model_available

TURNS = trials(50)
SETTINGS = f"""
[worker]
max_chats = {PARALLEL_REQUESTS}
[turn]
max_attempts = 4
backoff_seconds = 0.05
backoff_max_seconds = 1
stream_idle_timeout_seconds = 2
[limits]
requests_per_second = 0
"""
EXPECTED_FAILURES = frozenset(
    {
        FailureKind.RATE_LIMIT,
        FailureKind.OVERLOADED,
        FailureKind.PROVIDER_ERROR,
        FailureKind.NETWORK,
        FailureKind.STREAM_IDLE,
        FailureKind.TRUNCATED,
    }
)
"""Kinds that the injected faults may end as. Every one of them is worth a retry."""

Server = Callable[[], AbstractAsyncContextManager[ForeignServer]]


def models(server: ForeignServer) -> str:
    """Return the configuration of one provider and one model for each dialect that the server speaks."""
    sections = [
        f"""
[providers.{kind}]
kind = "{kind}"
base_url = "{url}"
api_key = "any"
[models.{kind}]
provider = "{kind}"
model = "some-model"
max_output_tokens = 6
default = {str(number == 0).lower()}
settings = {{ temperature = 0.0 }}
"""
        for number, (kind, url) in enumerate(server.base_urls.items())
    ]
    return "".join(sections)


async def ended_chats(api: ApiClient) -> list[dict[str, Any]] | None:
    """Return all chats once every turn has ended."""
    answer = await api.http.get("/api/v1/chats", params={"limit": TURNS})
    chats = list(answer.json()["items"])
    assert len(chats) == TURNS
    return chats if all(chat["status"] in {"waiting", "error"} for chat in chats) else None


@pytest.mark.slow
@pytest.mark.parametrize(
    "run_server",
    [
        pytest.param(
            llmock, marks=pytest.mark.skipif(not llmock_available(), reason="no llmock here")
        ),
        pytest.param(
            aimock, marks=pytest.mark.skipif(not aimock_available(), reason="no aimock here")
        ),
        pytest.param(
            llama_cpp,
            marks=pytest.mark.skipif(not local_model_available(), reason="no local model here"),
        ),
    ],
)
async def test_turns_end_complete_or_classified(
    dsn: str, tmp_path: Path, run_server: Server
) -> None:
    async with run_server() as foreign:
        with chatd_process(tmp_path, dsn, settings=SETTINGS, scripts=models(foreign)) as chatd:
            await chatd.wait_until_ready()
            async with client(chatd) as api:
                kinds, questions = list(foreign.base_urls), {}
                for number in range(TURNS):
                    question = f"Question {number}: what is a river?"
                    chat = await api.create(question, model=kinds[number % len(kinds)])
                    questions[chat["id"]] = question
                chats = await eventually(
                    lambda: ended_chats(api), 4 * TIMEOUT_SECONDS, interval_seconds=0.2
                )
                outcomes: Counter[str] = Counter()
                for chat in chats:
                    answers = [
                        m for m in await api.messages(chat["id"]) if m["role"] == "assistant"
                    ]
                    if chat["status"] == "error":
                        assert not answers, "a partial answer was stored"
                        assert chat["last_error_detail"]["kind"] in EXPECTED_FAILURES, chat
                        outcomes[chat["last_error_detail"]["kind"]] += 1
                        continue
                    (answer,) = answers
                    question = questions[chat["id"]]
                    assert text_of(answer["content"]) in foreign.complete_answers(question)
                    outcomes["answered"] += 1
            retries = Counter(line["kind"] for line in chatd.logged("chat.retry"))
    assert outcomes["answered"] > TURNS / 2, outcomes
    assert len(retries) > 1, f"the server injected no faults, or one kind only: {retries}"
    assert not chatd.logged("chat.panicked")
    assert "panicked" not in "".join(chatd.raw_lines)
