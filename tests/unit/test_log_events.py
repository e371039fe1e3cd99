"""The table of log events equals the events in the code, where each event is a literal."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import chatd
from chatd.logs.configure import LIBRARY_EVENT
from chatd.logs.events import CONTEXT_FIELDS, log_events

ROOT = Path(chatd.__file__).parent
LEVELS = {
    "debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error",
    "log": "several",
}  # fmt: skip
LOGGERS = {"_log"}


@dataclass
class Logged:
    """Uses of one event in the code."""

    levels: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)
    exception: bool = False


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id in LOGGERS and node.func.attr in LEVELS:
                yield node


def logged() -> dict[str, Logged]:
    found: dict[str, Logged] = {}
    for file in ROOT.rglob("*.py"):
        for call in calls(ast.parse(file.read_text("utf-8"))):
            where = f"{file.relative_to(ROOT)}:{call.lineno}"
            name = call.args[-1]
            assert isinstance(name, ast.Constant), f"{where}: an event is a literal"
            assert isinstance(name.value, str), where
            assert isinstance(call.func, ast.Attribute)
            one = found.setdefault(name.value, Logged())
            one.levels.add(LEVELS[call.func.attr])
            for keyword in call.keywords:
                assert keyword.arg, f"{where}: fields are named, not unpacked"
                if keyword.arg == "exc_info":
                    one.exception = True
                else:
                    one.fields.add(keyword.arg)
            one.exception |= call.func.attr == "exception"
    return found


def test_event_table_equals_the_code() -> None:
    code = logged()
    code[LIBRARY_EVENT] = Logged({"info", "warning", "error", "critical"}, {"message"}, True)
    assert code.keys() == log_events().keys()
    for name, event in log_events().items():
        found = code[name]
        assert set(event.fields) == found.fields, name
        assert event.exception == found.exception, name
        assert set(event.levels) == found.levels or (
            found.levels == {"several"} and len(event.levels) > 1
        ), name


def test_every_logger_is_called_log() -> None:
    """Modules call their logger ``_log`` and log by nothing else."""
    for file in ROOT.rglob("*.py"):
        text = file.read_text("utf-8")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("get_logger"):
                assert any(f"{name} = structlog" in text or f"{name}: " in text for name in LOGGERS)
            if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr) and node.value:
                value = ast.unparse(node.value)
                assert not value.startswith(tuple(f"{one}." for one in LOGGERS)), (file, value)


def test_every_event_has_a_description_and_an_action() -> None:
    for event in log_events().values():
        assert event.description.endswith("."), event.name
        assert event.action.endswith("."), event.name
        assert event.context is None or event.context in CONTEXT_FIELDS
        assert not set(event.fields) & {"timestamp", "level", "event", "logger", "exception"}
        assert not set(event.fields) & set(CONTEXT_FIELDS[event.context] if event.context else ())
