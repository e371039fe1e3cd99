"""The command line: help of all commands, results on stdout, errors with an exit code."""

import json
import os
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from structlog.testing import capture_logs

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
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "empty.toml").touch()
    monkeypatch.setenv("CHATD_CONFIG", str(tmp_path / "empty.toml"))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr("chatd.logs.configure", lambda **_: None)


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


MODEL = "[providers.p]\nkind = 'scripted'\n[models.m]\nprovider = 'p'\nmodel = 'm'\n"
JWT = "[auth]\nmode = 'jwt'\nissuer = 'i'\naudience = 'a'\njwks = '{}'\n"


def test_config_check_reports_what_run_would_reject(capsys: Captured, tmp_path: Path) -> None:
    file, keys = tmp_path / "c.toml", tmp_path / "keys.json"

    def check(text: str) -> tuple[int, list[str]]:
        file.write_text(text)
        code = main(["config", "check", "--config", str(file)])
        out, err = capsys.readouterr()
        assert bool(out) is (code == Exit.DONE)
        return code, err.splitlines()

    no_model = "chatd: models: configure at least one model"
    assert check("") == (Exit.CONFIGURATION, [no_model])
    with capture_logs():
        assert main(["run", "--config", str(file)]) == Exit.CONFIGURATION
    assert capsys.readouterr().err.splitlines() == [no_model]
    scripts = "[providers.p.scripts]\ngreet = [{ txt = 'hello' }]\n"
    code, [wrong] = check(MODEL.replace("[models", f"{scripts}[models"))
    assert code == Exit.CONFIGURATION
    assert wrong.startswith("chatd: providers.p.scripts.greet.0.txt: ")
    unread = f"chatd: auth.jwks: cannot read {keys}: "
    code, [first, second] = check(JWT.format(keys))
    assert (code, first, second.startswith(unread)) == (Exit.CONFIGURATION, no_model, True)
    keys.write_text('{"keys": []}')
    code, [wrong] = check(JWT.format(keys) + MODEL)
    assert (code, wrong.startswith(unread)) == (Exit.CONFIGURATION, True)
    assert check(JWT.format("https://127.0.0.1:1/keys") + MODEL) == (Exit.DONE, [])


def test_config_check_as_json(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "c.toml"

    def check(text: str) -> tuple[int, list[dict[str, str]]]:
        file.write_text(text)
        code = main(["config", "check", "--json", "--config", str(file)])
        out, err = capsys.readouterr()
        report = json.loads(out)
        assert (err, report.pop("file")) == ("", str(file))
        assert report.keys() == {"problems"}
        return code, report["problems"]

    def problem(key: str, reason: str, source: str) -> dict[str, str]:
        return {"key": key, "reason": reason, "source": source}

    assert check(MODEL) == (Exit.DONE, [])
    no_model = problem("models", "configure at least one model", "not set")
    assert check("") == (Exit.CONFIGURATION, [no_model])
    scripts = "[providers.p.scripts]\ngreet = [{ txt = 'hello' }]\n"
    code, [wrong] = check(MODEL.replace("[models", f"{scripts}[models"))
    assert code == Exit.CONFIGURATION
    place = ("providers.p.scripts.greet.0.txt", f"file {file}")
    assert (wrong["key"], wrong["source"]) == place
    assert wrong["reason"]
    monkeypatch.setenv("CHATD_HTTP__PROT", "1")
    misspelt = "unknown key; did you mean CHATD_HTTP__PORT?"
    expected = [
        problem("http.prot", "unknown key; did you mean http.port?", f"file {file}"),
        problem("CHATD_HTTP__PROT", misspelt, "environment"),
    ]
    assert check(f"[http]\nprot = 1\n{MODEL}") == (Exit.CONFIGURATION, expected)
    absent = str(tmp_path / "absent.toml")
    monkeypatch.delenv("CHATD_HTTP__PROT")
    assert main(["config", "check", "--json", "-c", absent]) == Exit.CONFIGURATION
    report = json.loads(capsys.readouterr().out)
    assert report["file"] == absent
    assert [problem["key"] for problem in report["problems"]] == [absent]


def test_config_check_and_show_print_no_secret(capsys: Captured, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    database = "[database]\nurl = 'postgresql://u:geheim@h/d'\n[http]\nport = 9\n"
    file.write_text(database + MODEL)
    assert main(["config", "check", "--config", str(file)]) == Exit.DONE
    assert capsys.readouterr().out == f"The configuration is valid ({file}).\n"
    assert main(["config", "show", "-c", str(file)]) == Exit.DONE
    table = capsys.readouterr().out
    assert "http.port                           9 " in table
    assert main(["config", "show", "--json", "-c", str(file)]) == Exit.DONE
    out = capsys.readouterr().out
    entries = {entry["key"]: entry for entry in json.loads(out)}
    assert entries["http.port"] == {
        "key": "http.port", "value": 9, "origin": {"kind": "file", "where": str(file)},
    }  # fmt: skip
    assert "geheim" not in table + out


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
