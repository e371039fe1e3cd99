"""Providers that cannot be closed, at a reload and at the end of the process."""

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs
from support.in_process import running_daemon
from support.providers import catalog, scripted
from support.virtual_clock import on_virtual_time

from chatd.llm.catalog import Catalog, ModelConfig
from chatd.llm.scripted.provider import ScriptedProvider


class UncloseableProvider(ScriptedProvider):
    """Provider that raises when it is closed, or hangs."""

    def __init__(self, *, hangs: bool = False) -> None:
        super().__init__(script=scripted()._script, scripts={})
        self.hangs = hangs

    async def aclose(self) -> None:
        if self.hangs:
            await anyio.sleep_forever()
        raise RuntimeError("the connection is gone already")


class CloseableProvider(UncloseableProvider):
    """Provider that records that it was closed."""

    closed = False

    async def aclose(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.closed = True


@on_virtual_time
async def test_old_providers_are_closed_although_the_process_stops_before_they_are_unused() -> None:
    provider = CloseableProvider()
    models = [ModelConfig(name="m", provider="p", model="m", default=True)]
    retired = Catalog(models=models, providers={"p": provider})
    with retired.in_use():
        async with anyio.create_task_group() as group:
            group.start_soon(retired.retire)
            await anyio.wait_all_tasks_blocked()
            assert not provider.closed
            group.cancel_scope.cancel()
    assert provider.closed


@pytest.mark.parametrize("hangs", [False, True])
def test_provider_that_cannot_be_closed_keeps_no_other_open(hangs: bool) -> None:
    @on_virtual_time
    async def scenario() -> None:
        closeable = CloseableProvider()
        models = [ModelConfig(name="m", provider="good", model="m", default=True)]
        providers = {"bad": UncloseableProvider(hangs=hangs), "good": closeable}
        with capture_logs() as logged:
            await Catalog(models=models, providers=providers).retire()
        assert closeable.closed
        assert [line["event"] for line in logged] == [
            "provider.close_failed",
            "config.old_providers_closed",
        ]
        assert anyio.current_time() < 5

    scenario()


@pytest.mark.parametrize("hangs", [False, True])
async def test_daemon_ends_in_order_although_a_provider_cannot_be_closed(
    dsn: str, hangs: bool
) -> None:
    provider = UncloseableProvider(hangs=hangs)
    async with running_daemon(dsn, provider) as chatd:
        assert catalog(provider).default.name == "one"
    assert chatd.logged("provider.close_failed")
    assert chatd.daemon.services.database._pool is None
