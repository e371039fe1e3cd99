"""The local model with real processes: it streams, stops for a closed stream and ends with its parent."""

import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from support.child_process import child_process
from support.eventually import TIMEOUT_SECONDS
from support.scheduling_delay import measure_scheduling_delay

import chatd
from chatd.embedded import EmbeddedError, LocalModel, local_model, local_model_available, model

pytestmark = pytest.mark.skipif(not local_model_available(), reason="no local model installed")

RUN = """
import asyncio
from chatd.embedded import local_model
async def main():
    async with local_model() as model:
        print(model.pid, model.base_url, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


@asynccontextmanager
async def streaming(
    where: LocalModel, **request: Any
) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """Stream the chunks of one answer."""
    body = {"model": where.model, "stream": True, **request}
    async with (
        httpx2.AsyncClient(timeout=2 * TIMEOUT_SECONDS) as client,
        client.stream("POST", f"{where.base_url}/chat/completions", json=body) as response,
    ):
        assert response.status_code == 200
        yield chunks(response)


async def chunks(response: httpx2.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in response.aiter_lines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))


def is_running(pid: int) -> bool:
    """Return whether the process runs. A zombie does not, and has no working folder any more."""
    try:
        return bool(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return False


def user_message(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


async def test_model_streams_text_finish_reason_and_usage() -> None:
    async with local_model() as where:
        options = {"max_tokens": 16, "stream_options": {"include_usage": True}}
        async with streaming(where, messages=user_message("Say hello."), **options) as stream:
            answer = [chunk async for chunk in stream]
        assert is_running(where.pid)
    choices = [choice for chunk in answer for choice in chunk["choices"]]
    words = [choice["delta"]["content"] for choice in choices if choice["delta"].get("content")]
    assert len(words) > 3
    assert choices[-1]["finish_reason"] in {"stop", "length"}
    assert 0 < answer[-1]["usage"]["completion_tokens"] <= 16
    assert not is_running(where.pid)


async def test_closed_stream_stops_generation() -> None:
    async with local_model(max_parallel_requests=1) as where:
        endless = {"max_tokens": 8000, "ignore_eos": True}
        async with streaming(
            where, messages=user_message("Tell a long story."), **endless
        ) as stream:
            assert await anext(stream)
        async with measure_scheduling_delay() as busy:
            started = time.monotonic()
            async with streaming(where, messages=user_message("Hi."), max_tokens=1) as stream:
                assert [chunk async for chunk in stream]
            took = time.monotonic() - started
        assert took < 10 + busy.total, "the only slot was still busy with the first answer"


def test_killed_parent_leaves_no_process() -> None:
    root = str(Path(chatd.__file__).parents[1])
    with child_process(
        [sys.executable, "-c", RUN],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    ) as parent:
        assert parent.stdout is not None
        pid, _ = parent.stdout.readline().split()
        assert is_running(int(pid))
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while is_running(int(pid)):
        assert time.monotonic() < deadline, "the model server still runs"
        time.sleep(0.005)


async def test_invalid_weights_fail_with_log(tmp_path: Path) -> None:
    weights = tmp_path / "weights.gguf"
    weights.write_bytes(b"these are no weights")
    with pytest.raises(EmbeddedError, match="did not start"):
        async with local_model(weights=weights):
            pass


async def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "find_spec", lambda name: None)
    assert not local_model_available()
    with pytest.raises(EmbeddedError, match="chatd with its extra 'local'"):
        async with local_model():
            pass
