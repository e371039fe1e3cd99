"""Text of others on a terminal and in a pipe, in every command.

On a terminal no command sends a character of others that the terminal would execute or hide. In a pipe
each command sends them as they are.
"""

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.commands import run_command
from support.hostile_server import HIDDEN, HOSTILE, MARK, assert_harmless, hostile_server
from support.pty import terminal

from chatd.cli.main import COMMANDS
from chatd.domain.sanitize import visible
from chatd.store.database import Database
from chatd.store.tokens import Tokens

CLI = Path(__file__).parents[2] / "chatd" / "cli"
CTRL_C, CTRL_D = "\x03", "\x04"
CHAT = "5bd0a6e5-6d3c-4a3e-9f0e-2f6f8c1d7a10"


@dataclass(frozen=True)
class Case:
    """Arguments of a command that shows text of others."""

    arguments: str
    """Separated by spaces. ``HOSTILE``, ``LOG`` and ``CONFIG`` stand for a text and for files."""
    in_pipe: str = HOSTILE
    """Text of its output in a pipe."""
    keys: str = ""
    """Keys that end a command which goes on by itself."""


CASES: Mapping[str, list[Case]] = {
    "demo": [Case("demo --model HOSTILE")],
    "dev": [Case("dev --model HOSTILE")],
    "chat": [Case(f"chat {CHAT}", keys=CTRL_D), Case("chat HOSTILE", in_pipe=MARK)],
    "ps": [
        Case("ps --once"),
        Case("ps", keys=CTRL_C),
        Case("ps --once --json", in_pipe="(\u202e)"),
    ],
    "top": [
        Case("top --once"),
        Case("top", keys=CTRL_C),
        Case("top --json", in_pipe="(\u202e)"),
    ],
    "show": [Case(f"show {CHAT}"), Case(f"show {CHAT} --json", in_pipe="(\u202e)")],
    "search": [Case("search words"), Case("search words --json", in_pipe="(\u202e)")],
    "tail": [
        Case(f"tail {CHAT}", keys=CTRL_C),
        Case(f"tail {CHAT} --json", in_pipe="(\u202e)", keys=CTRL_C),
    ],
    "interrupt": [Case(f"interrupt {CHAT}")],
    "retry": [Case(f"retry {CHAT}")],
    "run": [Case("run --config CONFIG", in_pipe=MARK)],
    "health": [Case("health --url URL"), Case("health --url URL --json", in_pipe="(\u202e)")],
    "migrate": [Case("migrate status"), Case("migrate up --config CONFIG", in_pipe=MARK)],
    "config": [
        Case("config check --config CONFIG", in_pipe=MARK),
        Case("config show --config HOSTILE", in_pipe=MARK),
    ],
    "token": [
        Case("token list"),
        Case("token list --json", in_pipe="(\u202e)"),
        Case("token create --owner a --name HOSTILE --json", in_pipe="(\u202e)"),
    ],
    "logs": [
        Case("logs LOG", in_pipe=MARK),
        Case("logs LOG --json", in_pipe="(\u202e)"),
    ],
    "openapi": [Case("openapi HOSTILE", in_pipe=MARK)],
    "completion": [Case("completion HOSTILE")],
}
"""By command. Mistakes in settings or arguments, and log lines, have marks in a pipe too."""


def test_every_command_has_a_case() -> None:
    assert CASES.keys() == COMMANDS.keys(), "have it show text of others here"


def test_commands_print_in_one_place() -> None:
    """What is printed past ``chatd.cli.output`` would reach a terminal as it is."""
    found = [
        f"{file.relative_to(CLI)}:{node.lineno}"
        for file in CLI.glob("**/*.py")
        if file.name != "output.py"
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Name) and node.func.id == "print")
            or ast.unparse(node.func).startswith(("sys.stdout.", "sys.stderr."))
        )
        and ast.unparse(node.func) not in {"sys.stdout.isatty", "sys.stdout.fileno"}
    ]
    assert not found, "use chatd.cli.output.echo"


@pytest.mark.parametrize("name", HIDDEN)
def test_hidden_character_becomes_a_mark(name: str) -> None:
    character = HIDDEN[name]
    shown = visible(f"a{character}b")
    assert shown.isascii()
    assert shown.isprintable()
    assert visible(f"a{character}b", keep=character) == f"a{character}b"


def test_visible_text_stays() -> None:
    text = "Grüße, 中文, עברית, 👍🏽, a\u00a0b, e\u0301"
    assert visible(text) == text
    assert visible("a\n\tb") == r"a\n\tb"
    assert visible("a\n\tb", keep="\n\t") == "a\n\tb"


async def prepare(database: Database, dsn: str, folder: Path) -> Mapping[str, str]:
    """Store hostile rows and files. Return the words for which arguments stand, and variables."""
    await Tokens(database).create(owner_id="a", name=HOSTILE)
    await database.fetch("UPDATE chatd_schema_migrations SET applied_by_version = $1", HOSTILE)
    log, config = folder / "log", folder / "config.toml"
    line = {"event": "a.b", "level": "info", "timestamp": "2026-01-02T10:00:00.000Z", "x": HOSTILE}
    log.write_text(json.dumps(line, ensure_ascii=False) + f"\n{HOSTILE}\n")
    config.write_text(f"{json.dumps(HOSTILE)} = 1\n")
    return {"HOSTILE": HOSTILE, "LOG": str(log), "CONFIG": str(config)}


def variables(dsn: str) -> Mapping[str, str]:
    return {
        "CHATD_DATABASE__URL": dsn,
        "CHATD_PROVIDERS__P__KIND": "scripted",
        "CHATD_MODELS__M__PROVIDER": "p",
        "CHATD_MODELS__M__MODEL": "m",
    }


@pytest.mark.parametrize("command", CASES)
async def test_hostile_text_is_marked_on_a_terminal_and_kept_in_a_pipe(
    command: str, dsn: str, database: Database, tmp_path: Path
) -> None:
    words = await prepare(database, dsn, tmp_path)
    async with hostile_server() as url:
        for case in CASES[command]:
            arguments = [{**words, "URL": url}.get(word, word) for word in case.arguments.split()]
            with terminal(url, *arguments, **variables(dsn)) as shown:
                await shown.wait_for_text(MARK)
                if case.keys:
                    shown.type_keys(case.keys)
                await shown.wait_for_exit()
            assert_harmless(shown.raw)
            if not case.keys:
                piped = await run_command(url, *arguments, **variables(dsn))
                assert case.in_pipe in piped.stdout + piped.stderr, (arguments, piped)
