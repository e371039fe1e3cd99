"""The command line: help of all commands, results on stdout, errors with an exit code."""

import os
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support.config_files import forget_settings_of_this_machine

import chatd
from chatd.cli.exit_codes import Exit, exit_code_for
from chatd.cli.main import COMMANDS, app, app_path, main
from chatd.domain.errors import ChatdError, DatabaseUnavailable, SchemaMismatch
from chatd.llm.errors import ProviderConfigError
from chatd.settings import ConfigurationError
from chatd.supervision.restart_budget import RestartBudgetExceeded

Captured = pytest.CaptureFixture[str]
REPOSITORY = Path(chatd.__file__).parents[1]
GROUPS = {
    "migrate": ["up", "down", "status", "sql"],
    "config": ["check", "show"],
    "token": ["create", "list", "revoke"],
}
ALL = [[name] for name in COMMANDS] + [
    [name, sub] for name, group in GROUPS.items() for sub in group
]

WITHOUT_JSON = {
    "run": "prints no result; its log is JSON by log.format",
    "dev": "prints no result; its log is JSON by log.format",
    "openapi": "prints JSON only",
    "migrate sql": "prints SQL for psql",
    "completion": "prints a script for a shell",
}
"""Commands without --json, and the reason."""


@pytest.fixture(autouse=True)
def _empty_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_settings_of_this_machine(monkeypatch)
    (tmp_path / "empty.toml").touch()
    monkeypatch.setenv("CHATD_CONFIG", str(tmp_path / "empty.toml"))


@pytest.mark.parametrize("command", ALL, ids=" ".join)
def test_every_command_has_help_with_examples(command: list[str], capsys: Captured) -> None:
    assert main([*command, "--help"]) == Exit.DONE
    out = capsys.readouterr().out
    assert out.startswith(f"Usage: chatd {' '.join(command)}")
    assert "Examples:" in out
    assert max(map(len, out.splitlines())) <= 80


def test_every_command_with_a_result_has_json(capsys: Captured) -> None:
    without = set()
    for command in ALL:
        assert main([*command, "--help"]) == Exit.DONE
        if "--json" not in capsys.readouterr().out.partition("Examples:")[0]:
            without.add(" ".join(command))
    assert without - {*GROUPS} == WITHOUT_JSON.keys()


def test_commands_table_equals_the_commands_docstrings(capsys: Captured) -> None:
    assert main(["--help"]) == Exit.DONE
    assert main([]) == Exit.DONE
    out = capsys.readouterr().out
    for name, sentence in COMMANDS.items():
        module, _, attribute = app_path(name).partition(":")
        command = getattr(import_module(module), attribute)
        docstring = command.default_command.__doc__ if command.default_command else command.help
        assert docstring == sentence
        assert f" {name} " in out
    files = {file.stem for file in Path(chatd.__file__).parent.glob("cli/*.py")}
    assert files - set(COMMANDS) == {
        "__init__",
        "actions",
        "connection",
        "dev_model",
        "exit_codes",
        "formatting",
        "main",
        "options",
        "output",
        "tool_calls",
    }
    assert set(COMMANDS) == {name for name in app if not name.startswith("-")}


def test_help_imports_no_slow_package() -> None:
    code = "import sys; from chatd.cli.main import main; main(['--help']); print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
        timeout=60,
    )
    imported = set(ran.stdout.splitlines()[-1].split())
    slow = {"asyncpg", "pydantic", "structlog", "anyio", "fastapi", "pydantic_ai", "openai"}
    slow |= {"httpx2", "rich.markdown", "prompt_toolkit"}
    assert "chatd.cli.main" in imported
    assert imported & slow == set()


@pytest.mark.parametrize(
    ("typed", "completions"),
    [
        (["mig"], ["migrate"]),
        (["migrate", ""], ["up", "down", "status", "sql"]),
        (["ps", "--st"], ["--status"]),
        (["ps", "--status", "r"], ["running", "requires_action"]),
        (["completion", "z"], ["zsh"]),
    ],
    ids=" ".join,
)
def test_bash_completion(typed: list[str], completions: list[str], capsys: Captured) -> None:
    assert main(["completion", "bash"]) == Exit.DONE
    words = " ".join(shlex.quote(word) for word in ["chatd", *typed])
    call = f"COMP_WORDS=({words}); COMP_CWORD={len(typed)}; _chatd"
    ran = subprocess.run(
        ["bash", "--norc", "-c", f'{capsys.readouterr().out}\n{call}; echo "${{COMPREPLY[@]}}"'],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert sorted(ran.stdout.split()) == sorted(completions)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_zsh_and_fish_have_a_completion_script(shell: str, capsys: Captured) -> None:
    assert main(["completion", shell]) == Exit.DONE
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)


def test_version_option_prints_the_version(capsys: Captured) -> None:
    assert main(["--version"]) == Exit.DONE
    assert capsys.readouterr().out.strip() == chatd.__version__


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["bogus"], 'Unknown command "bogus"'),
        (["config", "chek"], 'Did you mean "check"?'),
        (["config", "show", "--jsn"], "Did you mean --json?"),
        (["migrate", "down"], "--to"),
        (["migrate", "up", "--to", "x"], 'unable to convert "x"'),
    ],
)
def test_invalid_arguments_exit_with_usage(
    command: list[str], words: str, capsys: Captured
) -> None:
    assert main(command) == Exit.USAGE
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""


def test_configuration_errors_are_one_line_each_and_exit_78(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHATD_HTTP__PORT", "x")
    monkeypatch.setenv("CHATD_HTTP__PROT", "1")
    for command in (["config", "check"], ["config", "show"], ["run"], ["migrate", "status"]):
        with capture_logs() as logged:
            assert main(command) == 78
        assert [line["event"] for line in logged] == ["daemon.failed"] * (command == ["run"])
        captured = capsys.readouterr()
        assert captured.out == ""
        assert len(captured.err.splitlines()) == 2
        assert all(line.startswith("chatd: CHATD_HTTP__") for line in captured.err.splitlines())


def test_caller_variables_are_no_settings(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHATD_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("CHATD_TOKEN", "geheim")
    assert main(["config", "show"]) == Exit.DONE
    assert main(["ps", "--help"]) == Exit.DONE
    assert "geheim" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"geheim\nx", "it has a line end inside"),
        ("geheimé".encode(), "it has a character that is not ASCII"),
        (b"geheim\0", "it has a control character"),
        (b"geheim\xff", "not UTF-8 text"),
    ],
)
def test_token_that_fits_no_header_is_one_line(
    content: bytes, reason: str, capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    caller = ["show", "x", "--url", "http://127.0.0.1:1"]
    assert main([*caller, "--token-file", str(file)]) == Exit.FAILED
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"chatd: --token-file {file}: {reason}")
    if b"\0" not in content:
        monkeypatch.setenv("CHATD_TOKEN", os.fsdecode(content))
        assert main(caller) == Exit.FAILED
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("chatd: the token: it has a ")
        assert "geheim" not in line


def test_unavailable_database_is_one_line_and_exits_69(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHATD_DATABASE__URL", "postgresql://u:geheim@127.0.0.1:1/none")
    assert main(["migrate", "status"]) == Exit.DATABASE_UNAVAILABLE
    err = capsys.readouterr().err
    assert err.startswith("chatd: The database cannot be reached")
    assert len(err.splitlines()) == 1
    assert "geheim" not in err


def test_migrate_sql_with_a_start_version_needs_no_database(capsys: Captured) -> None:
    assert main(["migrate", "sql", "--from", "0", "--to", "0"]) == Exit.DONE
    assert "CREATE TABLE IF NOT EXISTS chatd_schema_migrations" in capsys.readouterr().out
    assert main(["migrate", "sql", "--from", "0", "--to", "9999"]) == Exit.FAILED
    assert "There is no migration 9999" in capsys.readouterr().err


def test_each_error_has_its_exit_code() -> None:
    codes = {
        ConfigurationError([]): 78,
        ProviderConfigError("models", "configure at least one model"): 78,
        SchemaMismatch(): 65,
        DatabaseUnavailable(): 69,
        RestartBudgetExceeded(child="reaper", restarts=5, window_seconds=60): 70,
        ChatdError(): 1,
    }
    assert {error: exit_code_for(error) for error in codes} == codes
    assert exit_code_for(ValueError()) is None
    assert len(set(Exit)) == len(Exit.__members__)
