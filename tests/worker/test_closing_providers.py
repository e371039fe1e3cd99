"""Providers that cannot be closed, at a reload and at the end of the process."""

import anyio
import anyio.lowlevel
import pytest
from structlog.testing import capture_logs
from support.eventually import eventually
from support.in_process import running_daemon
from support.providers import catalog, scripted
from support.virtual_clock import on_virtual_time

from chatd.daemon.reload import Reloader
from chatd.daemon.runtime_config import RuntimeConfig, RuntimeConfigHolder
from chatd.daemon.systemd import SystemdSocket
from chatd.daemon.systemd_notifier import SystemdNotifier
from chatd.llm.catalog import Catalog, ModelConfig
from chatd.llm.scripted.provider import ScriptedProvider
from chatd.settings import Settings
from chatd.tools.http.client import ToolHttpClient


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


def configured(model: str) -> Settings:
    providers = {"p": {"kind": "scripted"}}
    models = {model: {"provider": "p", "model": "scripted"}}
    return Settings.model_validate({"providers": providers, "models": models})


async def test_reloads_go_on_although_an_old_provider_cannot_be_closed() -> None:
    """The process served on with the new models, and an exception of the old ones ended it."""

    async def upsert_models(_: Catalog) -> None:
        await anyio.lowlevel.checkpoint()

    systemd = SystemdSocket()
    old = catalog(UncloseableProvider())
    config = RuntimeConfig.from_settings(configured("one"), old, ToolHttpClient())
    holder = RuntimeConfigHolder(config)
    names = iter(["two", "three"])
    reloader = Reloader(
        configured("one"),
        holder,
        reload_settings=lambda: configured(next(names)),
        upsert_models=upsert_models,
        systemd=systemd,
        systemd_notifier=SystemdNotifier(
            systemd, status=str, healthy=lambda: True, max_stop_seconds=60
        ),
    )

    def closed_count() -> int:
        return sum(line["event"] == "config.old_providers_closed" for line in logged)

    with capture_logs() as logged:
        async with anyio.create_task_group() as group:
            group.start_soon(reloader.run)
            for closed, name in enumerate(["two", "three"], 1):
                reloader.request()
                await eventually(lambda closed=closed: closed_count() == closed)
                assert [model.name for model in holder.current.catalog.models] == [name]
            group.cancel_scope.cancel()
    assert [line["provider"] for line in logged if line["event"] == "provider.close_failed"]
