"""The commands ``config check`` and ``config show``."""

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support.config_files import Captured, forget_settings_of_this_machine

from chatd.cli.exit_codes import Exit
from chatd.cli.main import main

MODEL = "[providers.p]\nkind = 'scripted'\n[models.m]\nprovider = 'p'\nmodel = 'm'\n"
JWT = "[auth]\nmode = 'jwt'\nissuer = 'i'\naudience = 'a'\njwks = '{}'\n"


@pytest.fixture(autouse=True)
def _empty_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_settings_of_this_machine(monkeypatch)
    (tmp_path / "empty.toml").touch()
    monkeypatch.setenv("CHATD_CONFIG", str(tmp_path / "empty.toml"))


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
