"""The library of a provider takes long to load after a start, which is no silence of the provider."""

from collections.abc import AsyncIterator

import anyio
from support.in_process import running_daemon
from support.providers import FunctionProvider, finished, text_delta

from chatd.llm.provider import Delta, ModelRequest

IMPORT_SECONDS = 1.0
LIMITS = {"stream_idle_timeout_seconds": 0.2, "model_call_timeout_seconds": 0.5}


class SlowToLoad(FunctionProvider):
    """Provider whose library is loaded by the first call, as a real one's is."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self._loaded = anyio.Event()
        self._lock = anyio.Lock()

    async def warm(self) -> None:
        async with self._lock:
            if not self._loaded.is_set():
                await anyio.sleep(IMPORT_SECONDS)
                self._loaded.set()

    async def _answer(self, _: ModelRequest) -> AsyncIterator[Delta]:
        assert self._loaded.is_set()
        yield text_delta("an answer")
        yield finished()


async def test_chat_that_is_claimed_before_its_library_is_loaded_is_answered(dsn: str) -> None:
    async with running_daemon(dsn, worker={"enabled": False}) as front:
        chat_id = (await front.api.create("hello"))["id"]
    provider = SlowToLoad()
    async with running_daemon(dsn, provider, turn=LIMITS) as chatd:
        await chatd.api.wait_for_status(chat_id, "waiting")
        assert await chatd.api.texts(chat_id) == ["an answer"]
        assert len(provider.requests) == 1
        assert not chatd.logged("chat.retry")
