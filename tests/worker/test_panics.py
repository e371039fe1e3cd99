"""Panics: whatever a chat's task raises becomes its ``last_error``, and affects no other chat."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from support.eventually import eventually
from support.in_process import running_daemon
from support.providers import FunctionProvider, finished, last_user_text, text_delta

from chatd.llm.provider import Delta, ModelRequest

SECRET = "sk-live-0123456789abcdef"


class UnprintableError(Exception):
    """Exception whose ``__str__`` raises."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class CustomBaseException(BaseException):
    """Exception that ``except Exception`` does not catch."""


def nested() -> BaseException:
    return ExceptionGroup("some", [ValueError("inner"), ExceptionGroup("deep", [KeyError("k")])])


PANICS: dict[str, Callable[[], BaseException]] = {
    "plain": lambda: RuntimeError("wires crossed"),
    "assertion": AssertionError,
    "cancelled by nobody": asyncio.CancelledError,
    "group": nested,
    "group of one": lambda: ExceptionGroup("wrapper", [RuntimeError("the one")]),
    "group with a cancellation": lambda: BaseExceptionGroup("b", [asyncio.CancelledError()]),
    "beyond Exception": lambda: CustomBaseException("far out"),
    "exit": lambda: SystemExit(3),
    "stop iteration": StopAsyncIteration,
    "generator exit": GeneratorExit,
    "silent": lambda: RuntimeError(""),
    "unshowable": UnprintableError,
    "NUL and a lone surrogate": lambda: RuntimeError("a\x00b\ud800c"),
    "secret": lambda: RuntimeError(f"refused with api_key={SECRET}"),
    "long": lambda: RuntimeError("x" * 1_000_000),
}

EXPECTED = {
    "plain": "chat processing panicked: wires crossed",
    "group of one": "chat processing panicked: the one",
    "silent": "chat processing panicked: RuntimeError",
    "unshowable": "chat processing panicked: UnprintableError",
    "cancelled by nobody": "chat processing panicked: CancelledError",
    "NUL and a lone surrogate": "chat processing panicked: a\ufffdb\ufffdc",
    "secret": "chat processing panicked: refused with api_key=[redacted]",
}


@pytest.mark.parametrize("when", ["at once", "mid-stream", "at the end"])
async def test_panic_fails_its_chat_alone(dsn: str, when: str) -> None:
    others = asyncio.Event()

    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        words = last_user_text(request)
        if words == "other":
            yield text_delta("I ")
            await others.wait()
            yield text_delta("went on")
        elif words in PANICS:
            if when != "at once":
                yield text_delta("Something is ")
            if when == "at the end":
                yield finished()
            error = PANICS[words]
            raise error()
        else:
            yield text_delta(f"answer to {words}")
        yield finished()

    async with running_daemon(dsn, FunctionProvider(act)) as chatd:
        api = chatd.api
        other = await api.create("other")
        broken = {name: (await api.create(name))["id"] for name in PANICS}
        for name, chat_id in broken.items():
            chat = await api.wait_for_status(chat_id, "error")
            assert chat["last_error"].startswith("chat processing panicked: "), (name, chat)
            assert chat["last_error"] == EXPECTED.get(name, chat["last_error"])
            assert len(chat["last_error"]) < 2_100
            assert chat["last_error_detail"]["kind"] == "panic"
            assert chat["last_error_detail"]["retryable"] is False
            assert SECRET not in str(chat)
            [logged] = [
                line for line in chatd.logged("chat.panicked") if line["chat_id"] == chat_id
            ]
            assert isinstance(logged["exc_info"], BaseException)
            assert logged["exc_info"].__traceback__ is not None
            assert await api.texts(chat_id) == []  # the streamed prefix is no message
        assert (await api.chat(other["id"]))["status"] == "running"
        others.set()
        await api.wait_for_status(other["id"], "waiting")
        assert await api.texts(other["id"]) == ["I went on"]
        for chat_id in broken.values():
            sent = await api.send(chat_id, "now")
            assert sent["chat"]["status"] == "pending"
            assert sent["chat"]["last_error"] is None
            assert sent["chat"]["last_error_detail"] is None
        for chat_id in broken.values():
            assert (await api.wait_for_status(chat_id, "waiting"))["last_error"] is None
            assert await api.texts(chat_id) == ["answer to now"]
        assert not chatd.daemon.chat_tasks.leases
        assert chatd.daemon.supervisor.ready.is_set()


async def test_panic_during_an_interrupt_ends_idle(dsn: str) -> None:
    """The interrupt was requested before the panic was stored, and takes precedence."""
    reached, go = asyncio.Event(), asyncio.Event()

    async def act(request: ModelRequest) -> AsyncIterator[Delta]:
        if last_user_text(request) == "panic":
            yield text_delta("Half an ")
            reached.set()
            try:
                await go.wait()
            finally:
                raise RuntimeError("while being stopped")
        yield text_delta("well")
        yield finished()

    async with running_daemon(dsn, FunctionProvider(act)) as chatd:
        chat = await chatd.api.create("panic")
        await reached.wait()
        await chatd.api.interrupt(chat["id"])
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await chatd.api.texts(chat["id"]) == ["Half an "]
        await chatd.api.send(chat["id"], "again")
        await eventually(lambda: chatd.api.texts(chat["id"]), describe=lambda: "an answer")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await chatd.api.texts(chat["id"]) == ["Half an ", "well"]
