"""Mistakes in the configuration: one line that names the key or the file, and exit code 78."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from support.config_files import (
    MODEL,
    SECRET,
    Captured,
    forget_settings_of_this_machine,
    mistake,
    write_config,
)

from chatd.cli.exit_codes import Exit
from chatd.cli.main import main
from chatd.settings import load

DEEP = 100_000


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_settings_of_this_machine(monkeypatch)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (bytes(range(256)), "not UTF-8 text"),
        (MODEL.encode("utf-16"), "not UTF-8 text"),
        (MODEL + "\0", "not valid TOML: Invalid statement (at line 8, column 1)"),
        (MODEL + "[models.m]\n", "not valid TOML: Cannot declare ('models', 'm') twice"),
        (MODEL + "[http]\nport = 1\nport = 2\n", "not valid TOML: Cannot overwrite a value"),
        (MODEL + "[http]\nport = " + "9" * 5000, "not valid TOML: "),
        (MODEL + f"settings.x = {'[' * DEEP}", "nested too deep"),
        (MODEL + f"settings.x = {'{a = ' * DEEP}", "nested too deep"),
        (MODEL + "#" * 2**20, "larger than 1048576 bytes"),
    ],
    ids=lambda value: repr(value)[-24:],
)
def test_unusable_file_is_named(
    content: str | bytes, reason: str, tmp_path: Path, capsys: Captured
) -> None:
    config = write_config(tmp_path, content)
    assert mistake(config, capsys).startswith(f"{config}: {reason}")


def test_file_that_is_none_is_named(tmp_path: Path, capsys: Captured) -> None:
    for name, target in (("dangling", "gone"), ("loop", "loop")):
        (tmp_path / name).symlink_to(target)
    reasons = {
        ".": "Is a directory",
        "absent": "No such file or directory",
        "dangling": "No such file or directory",
        "loop": "Too many levels of symbolic links",
        "x" * 300: "File name too long",
    }
    for name, reason in reasons.items():
        config = tmp_path / name
        assert mistake(config, capsys) == f"{config}: {reason} (file)"


def test_endless_file_is_read_up_to_its_bound(capsys: Captured) -> None:
    assert mistake(Path("/dev/zero"), capsys).startswith("/dev/zero: larger than 1048576 bytes")


@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbf" + MODEL.encode(), MODEL.replace("\n", "\r\n"), MODEL.replace("\n", "\r")],
    ids=["BOM", "CRLF", "CR"],
)
def test_marks_of_an_editor_are_no_mistake(content: str | bytes, tmp_path: Path) -> None:
    assert load(write_config(tmp_path, content), {}) == load(write_config(tmp_path, MODEL), {})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[limits]\nmax_labels = 1" + "0" * 400, "limits.max_labels: must be at most 2147483647"),
        ("[turn]\nmax_steps = 2147483648", "turn.max_steps: must be at most 2147483647"),
        (
            "[turn]\nbackoff_max_seconds = 1e308",
            "turn.backoff_max_seconds: must be at most 2147483",
        ),
        ("[http]\ndrain_seconds = 1" + "0" * 400, "http.drain_seconds: must be a valid number"),
        ("[stream]\nevent_retention_days = 36501", "stream.event_retention_days: must be less"),
        ("[http]\nidempotency_retention_hours = 1e6", "http.idempotency_retention_hours: must be "),
        ("[models.m.settings]\nt = nan", "models.m.settings: t must be a finite number"),
        ("[models.m.settings]\nt.u = [-inf]", "models.m.settings: t.u.0 must be a finite number"),
        ("[models.m.settings]\nt = 2026-01-01", "models.m.settings: t must be text, a number,"),
        ('[models.m.settings]\nt = "\\u0000"', "models.m.settings: t must not have NUL"),
        ('[models.m.settings]\n"\\u0000" = 1', "models.m.settings: \\x00 must not have NUL"),
        ("[models.m.settings]\n" + ".".join("t" * 40) + " = 1", "is nested too deep"),
        (f"[models.m.settings]\nt = {'[' * 300}{']' * 300}", "is nested too deep"),
        ('[models.n]\nprovider = "p"\nmodel = "a\\nb"', "models.n.model: must not have control"),
        ('[auth]\nmode = "token"\n[http]\nhost = "a\\u0000"', "http.host: must not have control"),
        ('"a\\nb\\u001b]52;c;\\u202e" = 1', "models.m.a\\nb\\x1b]52;c;\\u202e: unknown key"),
        ('["\\u001b[31m"]', "\\x1b[31m: unknown key"),
        ('[models."a\\u001b"]\nmodel = "x"\nprovider = "p"', "models.a\\x1b: a name is made of"),
        (
            f"[models.{'n' * 201}]\nprovider = 'p'\nmodel = 'x'",
            "a name is made of at most 200 letters",
        ),
        (
            f'[models.n]\nprovider = "p"\nmodel = "{"m" * 1001}"',
            "models.n.model: String must have at most 1000",
        ),
        (f"[{'a' * 500_000}]", "aaa…: unknown key"),
        ("[auth]\njwks = 'https://h:99999/x'", "auth.jwks: must be an https:// URL"),
        ("[auth]\njwks = 'https://h h/'", "auth.jwks: must be an https:// URL"),
        ("[auth]\njwks = 'https://a..b/'", "auth.jwks: must be an https:// URL"),
        ("[auth]\njwks = 'https://[::1/'", "auth.jwks: must be an https:// URL"),
        ('[auth]\njwks = "/a\\u0000b"', "auth.jwks: must be an https:// URL"),
        (
            "[providers.s]\nkind = 'scripted'\nscript = [{ \"a\\nb\" = 'x' }]",
            "providers.s.script.0.a\\nb: ",
        ),
        (
            "[providers.s]\nkind = 'scripted'\nscripts = { \"\\u001b\" = [{ txt = 'x' }] }",
            "providers.s.scripts.\\x1b.0.txt: ",
        ),
        ("[[models.x]]", "models.x: must be a table: [models.NAME]"),
    ],
)
def test_mistake_in_a_value_names_its_key(
    line: str, expected: str, tmp_path: Path, capsys: Captured
) -> None:
    assert expected in mistake(write_config(tmp_path, MODEL + line), capsys)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"CHATD_MODELS__M__SETTINGS": '{"a":' * DEEP}, "CHATD_MODELS__M__SETTINGS: is nested"),
        (
            {"CHATD_MODELS__M__SETTINGS": '{"a":' * 600 + "1" + "}" * 600},
            "CHATD_MODELS__M__SETTINGS: is nested too deep",
        ),
        ({"CHATD_MODELS__M__SETTINGS": '{"a":' + "9" * 5000}, "must be a list or a table (as JSON"),
        ({"CHATD_MODELS__M__SETTINGS": '{"a": "\\ud800"}'}, "a must not have NUL"),
        ({"CHATD_HTTP__HOST": "\udcff"}, "CHATD_HTTP__HOST: must be a valid string"),
        ({"CHATD_PROVIDERS__P__HEADERS": f'["{SECRET}"]'}, "CHATD_PROVIDERS__P__HEADERS: must be"),
    ],
    ids=range(6),
)
def test_mistake_in_a_variable_names_it(
    variables: Mapping[str, str],
    expected: str,
    tmp_path: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert expected in mistake(write_config(tmp_path, MODEL), capsys)


def test_report_of_many_mistakes_is_bounded(tmp_path: Path, capsys: Captured) -> None:
    config = write_config(tmp_path, "".join(f"[x{number}]\n" for number in range(300)))
    assert main(["config", "check", "--config", str(config)]) == Exit.CONFIGURATION
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 101
    assert lines[0].startswith("chatd: x0: unknown key")
    assert lines[-1] == "chatd: 200 more problems"
