"""The actors of a process, as their supervisor gets them."""

import re
from pathlib import Path

import chatd.daemon
from chatd.daemon import Daemon
from chatd.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
WORKER = (
    "deregistration", "heartbeat", "watchdog", "flusher", "chats", "activity", "claimer", "reaper",
    "pending sweep", "janitor",
)  # fmt: skip


def daemon(**sections: object) -> Daemon:
    models = {
        "providers": {"p": {"kind": "scripted"}},
        "models": {"m": {"provider": "p", "model": "scripted"}},
    }
    return Daemon(Settings.model_validate({**models, **sections}), handle_signals=False)


def names(of: Daemon) -> list[str]:
    return [actor.name for actor in of.supervisor.snapshot()]


async def test_start_order_of_all_actors() -> None:
    assert names(daemon(auth={"mode": "token"})) == [
        *("http", "database", "listener", "notifier", *WORKER),
        *("chat poller", "list poller", "authenticator", "database probe", "stats collector"),
        *("provider preload", "admission"),
    ]


async def test_drawn_tree_is_the_table() -> None:
    drawn = re.findall(r"^    [├└]── (.+?)  ", chatd.daemon.__doc__ or "", re.MULTILINE)
    page = (DOCS / "architecture" / "supervision.md").read_text().split("```")[1]
    listed = re.findall(r"^(.+?)  ", page, re.MULTILINE)
    assert drawn == listed == names(daemon(auth={"mode": "token"}))


async def test_actors_that_settings_switch_off_are_left_out() -> None:
    serving = daemon(worker={"enabled": False})
    assert names(serving) == [
        "http", "database", "listener", "notifier", "chat poller", "list poller", "database probe",
        "stats collector", "provider preload", "admission",
    ]  # fmt: skip
    assert serving.chat_tasks is None
