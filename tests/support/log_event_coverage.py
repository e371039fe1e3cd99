"""Coverage of the log events by the tests, checked at the end of a run of the whole suite.

``record_event`` gets every event that is logged in this process, and those in the lines of each process
that a test starts. At the end of a full run, an event of the table that was not recorded fails the run,
and so does a file without tests. A run of some files, or with ``-k``, is not checked.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from structlog._base import BoundLoggerBase

from chatd.logs.events import log_events

TESTS_DIR = Path(__file__).parents[1]

UNTESTED_EVENTS: Mapping[str, str] = {}
"""Events that no test can drive, and why."""

_seen: set[str] = set()
_worker_ran_all: list[bool] = []
"""For each pytest worker of a run, True if it collected every test."""
_deselected: list[pytest.Item] = []
_collected: set[Path] = set()
"""Files that were searched for tests, also those that have none."""
_empty: set[str] = set()
"""The files among ``_collected`` without tests."""
_process_event = BoundLoggerBase._process_event


def record_event(event: object) -> None:
    """Record that an event was logged, in this process or in one that a test started."""
    if isinstance(event, str):
        _seen.add(event)


def _recording_process_event(
    self: BoundLoggerBase, method: str, event: str | None, fields: dict[str, Any]
) -> Any:
    record_event(event)
    return _process_event(self, method, event, fields)


def pytest_configure() -> None:
    BoundLoggerBase._process_event = _recording_process_event  # type: ignore[method-assign]


def pytest_deselected(items: list[pytest.Item]) -> None:
    _deselected.extend(items)


def pytest_pycollect_makemodule(module_path: Path) -> None:
    if module_path.is_relative_to(TESTS_DIR):
        _collected.add(module_path)


def pytest_collection_finish(session: pytest.Session) -> None:
    tested = {item.path for item in (*session.items, *_deselected)}
    _empty.update(str(path.relative_to(TESTS_DIR)) for path in _collected - tested)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add the events that a pytest worker (``-n``) has recorded."""
    report = getattr(node, "workeroutput", {})
    _seen.update(report.get("events", ()))
    _empty.update(report.get("empty", ()))
    _worker_ran_all.append(report.get("whole", False))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    report: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if report is not None:
        report |= {
            "events": sorted(_seen),
            "empty": sorted(_empty),
            "whole": _is_full_run(session.config),
        }
        return
    whole = all(_worker_ran_all) if _worker_ran_all else _is_full_run(session.config)
    if exitstatus != pytest.ExitCode.OK or not whole:
        return
    if _empty:
        _write_line(session, f"these files have no tests: {', '.join(sorted(_empty))}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if unseen := log_events().keys() - _seen - UNTESTED_EVENTS.keys():
        _write_line(session, f"no test drives these events of the log: {', '.join(sorted(unseen))}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if driven := UNTESTED_EVENTS.keys() & _seen:
        _write_line(session, f"these events are driven after all: {', '.join(sorted(driven))}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _is_full_run(config: pytest.Config) -> bool:
    """Return whether every test of every file was run."""
    some = config.getoption("lf", False) or config.getoption("collectonly")
    if some or _deselected or any("::" in argument for argument in config.args):
        return False
    return set(TESTS_DIR.rglob("test_*.py")) <= _collected


def _write_line(session: pytest.Session, text: str) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(f"\n{text}", red=True)
