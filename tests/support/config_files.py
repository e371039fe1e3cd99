"""Files of configuration, and the one line that a mistake in them gets."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from chatd.cli.exit_codes import Exit
from chatd.cli.main import main

Captured = pytest.CaptureFixture[str]


SECRET = "geheim"
VALID = """\
[providers.p]
kind = "openai-compatible"
base_url = "http://127.0.0.1:9/v1"
%s
[models.m]
provider = "p"
model = "m"
"""


MODEL = VALID % ""


def forget_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have commands that run in this process find no configuration, and leave its log alone."""
    monkeypatch.delenv("CHATD_CONFIG", raising=False)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr("chatd.logs.configure", lambda **_: None)


def mistake(config: Path, capsys: Captured) -> str:
    """Return the one line that both commands print for this file, without the name of the program."""
    lines = []
    for command in ("config check", "run"):
        with capture_logs():
            assert main([*command.split(), "--config", str(config)]) == Exit.CONFIGURATION
        out, err = capsys.readouterr()
        assert out == ""
        lines += err.splitlines()
    first, second = lines
    assert first == second
    assert SECRET not in first
    assert first.isprintable()
    assert first.startswith("chatd: ")
    return first.removeprefix("chatd: ")


def write_config(folder: Path, content: str | bytes) -> Path:
    config = folder / "config.toml"
    config.write_bytes(content.encode() if isinstance(content, str) else content)
    return config
