"""The actors of a process, as their supervisor gets them."""

import re
from pathlib import Path

import chatd.daemon
from chatd.api import server
from chatd.daemon import Daemon
from chatd.daemon import supervision_tree as tree
from chatd.daemon.supervision_tree import supervision_tree
from chatd.settings import Settings
from chatd.store import connector

DOCS = Path(__file__).parents[2] / "docs"
WORKER = (
    "deregistration", "heartbeat", "watchdog", "flusher", "titler", "chats", "activity", "claimer",
    "waker", "reaper", "pending sweep", "janitor",
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
        *("metrics history", "search indexer", "provider preload", "admission"),
    ]


async def test_drawn_tree_is_the_table() -> None:
    drawn = re.findall(r"^    [├└]── (.+?)  ", chatd.daemon.__doc__ or "", re.MULTILINE)
    page = (DOCS / "architecture" / "supervision.md").read_text().split("```")[1]
    listed = re.findall(r"^(.+?)  ", page, re.MULTILINE)
    mcp = {"NAME": {"command": "server"}}
    assert drawn == listed == names(daemon(auth={"mode": "token"}, mcp=mcp))


async def test_actors_that_settings_switch_off_are_left_out() -> None:
    serving = daemon(worker={"enabled": False})
    assert names(serving) == [
        "http", "database", "listener", "notifier", "chat poller", "list poller", "database probe",
        "stats collector", "metrics history", "search indexer", "provider preload", "admission",
    ]  # fmt: skip
    assert serving.chat_tasks is None


async def test_only_the_claimer_goes_down_with_another_actor() -> None:
    """A heartbeat that fails ends no turn: a lease that nobody renews ends by its own deadline."""
    tree = daemon(auth={"mode": "token"})
    rows = supervision_tree(tree.actors, tree.settings)
    assert {row.name: row.depends_on for row in rows if row.depends_on} == {"claimer": ("chats",)}


async def test_actors_for_operators_have_budgets_of_their_own_and_never_end_the_process() -> None:
    tree = daemon()
    rows = {row.name: row for row in supervision_tree(tree.actors, tree.settings)}
    assert {name for name, row in rows.items() if not row.essential} == {
        "janitor",
        "metrics history",
        "search indexer",
        "stats collector",
        "titler",
    }
    shared = {name for name, row in rows.items() if row.essential and row.restarts is None}
    assert shared == {name for name, row in rows.items() if row.essential}
    assert all(row.restarts for row in rows.values() if not row.essential)


def test_last_requests_are_answered_before_the_server_drops_them() -> None:
    """Their statements take a while to end, and a process may have to wait for the processor."""
    answered = server._LAST_REQUESTS_SECONDS + connector._CLOSE_TIMEOUT_SECONDS + 1
    assert answered < server._STOP_TIMEOUT_SECONDS < tree._HTTP_SHUTDOWN_SECONDS
