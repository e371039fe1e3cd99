"""MCP servers in the configuration, and what ``config check`` finds of those that cannot run."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from pydantic import ValidationError
from support.config_files import forget_settings_of_this_machine

from chatd.daemon.mcp_check import mcp_problems
from chatd.daemon.tools import mcp_servers_from_settings
from chatd.settings import Settings
from chatd.tools.mcp.config import HttpEndpoint, StdioEndpoint

_PR_SET_MDWE, _PR_GET_MDWE = 65, 66
"""Linux 6.3: what systemd sets for MemoryDenyWriteExecute."""


AT = {"url": "https://h/mcp"}
OAUTH = {
    "oauth_client_id": "chatd",
    "oauth_client_secret": "hidden",
    "oauth_issuer": "https://login.example.com",
}


def settings(**servers: Any) -> Settings:
    return Settings.model_validate({"mcp": servers})


@pytest.mark.parametrize(
    ("name", "server", "reason"),
    [
        ("a__b", {"command": "x"}, "separates the names"),
        ("a_", {"command": "x"}, "separates the names"),
        ("a.b", {"command": "x"}, "String should match pattern"),
        ("a" * 33, {"command": "x"}, "at most 32 characters"),
        ("a", {}, "either command or url is required, and not both"),
        ("a", {"command": "x", "url": "http://h/"}, "either command or url is required"),
        ("a", {"command": "x", "headers": {"X-A": "b"}}, "is for a server with a url"),
        ("a", {"url": "http://h/", "env": {"A": "b"}}, "is for a server with a command"),
        ("a", {"url": "http://h/", "args": ["b"]}, "is for a server with a command"),
        ("a", {"url": "ftp://h/"}, "must be an address"),
        ("a", {"command": "x", "env": {"A B": "b"}}, "String should match pattern"),
        ("a", {"command": "x", "env": {"A": "hidden\0"}}, "no variable can hold it"),
        ("a", {"command": "x", **OAUTH}, "is for a server with a url"),
        ("a", {**AT, "oauth_client_secret": "hidden"}, "needs oauth_client_id"),
        ("a", {**AT, "oauth_scope": "read"}, "needs oauth_client_id"),
        ("a", {**AT, **OAUTH, "oauth_issuer": None}, "is required with oauth_client_id"),
        ("a", {**AT, **OAUTH, "oauth_client_secret": None}, "needs either"),
        ("a", {**AT, **OAUTH, "oauth_private_key": "hidden"}, "needs either"),
        ("a", {**AT, **OAUTH, "oauth_issuer": "http://h/"}, "must be an https:// URL"),
        ("a", {**AT, **OAUTH, "headers": {"authorization": "hidden"}}, "is set by OAuth"),
    ],
)
def test_server_that_cannot_be_is_rejected_in_words(
    name: str, server: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        settings(**{name: server})
    assert reason in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_configuration_of_a_server_is_that_of_the_settings() -> None:
    program, address = mcp_servers_from_settings(
        settings(
            a={"command": "x", "args": ["y"], "env": {"KEY": "secret"}, "idempotent": ["read_*"]},
            b={"url": "https://h/mcp", "headers": {"X-Key": "secret"}, "max_tools": 3},
        )
    )
    assert program.endpoint == StdioEndpoint(command="x", args=("y",), env={"KEY": "secret"})
    assert (program.idempotent, program.tools, program.max_tools) == (("read_*",), ("*",), 64)
    assert address.endpoint == HttpEndpoint(url="https://h/mcp", headers={"X-Key": "secret"})
    assert address.max_tools == 3
    assert "secret" not in repr((program, address))


def test_command_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "not executable").touch()
    servers = settings(
        a={"command": "no-such-program"},
        b={"command": str(tmp_path / "not executable")},
        c={"command": sys.executable},
        d={"url": "http://127.0.0.1:1/"},
    )
    assert list(mcp_problems(servers)) == [
        "mcp.a.command: there is no program 'no-such-program' in PATH that may be executed",
        (
            f"mcp.b.command: there is no program {str(tmp_path / 'not executable')!r} in PATH that may be "
            "executed"
        ),
    ]


@pytest.mark.parametrize("encrypted", [False, True])
def test_key_that_signs_no_token_is_a_problem(encrypted: bool) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    hidden = BestAvailableEncryption(b"p") if encrypted else NoEncryption()
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden).decode()
    oauth = {**OAUTH, "oauth_client_secret": None, "oauth_private_key": text}
    problems = list(mcp_problems(settings(a={**AT, **oauth})))
    assert [problem.partition(":")[0] for problem in problems] == (
        ["mcp.a.oauth_private_key"] if encrypted else []
    )
    broken = {**oauth, "oauth_private_key": "hidden"}
    [problem] = mcp_problems(settings(a={**AT, **broken}))
    assert "it is no private key in PEM" in problem
    assert "hidden" not in problem


def test_missing_extra_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert list(mcp_problems(Settings())) == []
    assert list(mcp_problems(settings(a={"url": "http://127.0.0.1:1/"}))) == [
        "mcp: its servers need the extra mcp: pip install 'chatd[mcp]'"
    ]


def test_daemon_imports_no_sdk_before_a_server_is_connected() -> None:
    program = "import sys, chatd.daemon.daemon; print({'mcp', 'mcp_types'} & sys.modules.keys())"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout == "set()\n"


@pytest.mark.skipif(ctypes.CDLL(None).prctl(_PR_GET_MDWE, 0, 0, 0, 0) < 0, reason="needs Linux 6.3")
def test_node_under_memory_deny_write_execute_is_a_problem_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_settings_of_this_machine(monkeypatch)
    for name, first_line in (
        ("npx", "#!/bin/sh"),
        ("tool", "#!/usr/bin/env node"),
        ("other", "#!/bin/sh"),
    ):
        (tmp_path / name).write_text(f"{first_line}\n")
        (tmp_path / name).chmod(0o755)
    config = tmp_path / "c.toml"
    config.write_text(
        "[providers.p]\nkind = 'scripted'\n[models.m]\nprovider = 'p'\nmodel = 'm'\n"
        + "".join(
            f"[mcp.{name}]\ncommand = '{tmp_path / name}'\n" for name in ("npx", "tool", "other")
        )
    )
    command = [sys.executable, "-m", "chatd", "config", "check", "--config", str(config)]

    def check(*, denied: bool) -> list[str]:
        prelude = f"ctypes.CDLL(None).prctl({_PR_SET_MDWE}, {int(denied)}, 0, 0, 0)"
        program = f"import ctypes, os; {prelude}; os.execv({command[0]!r}, {command!r})"
        run = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            env=os.environ,
            check=False,
            timeout=60,
        )
        return run.stderr.splitlines()

    assert check(denied=False) == []
    problems = check(denied=True)
    assert [problem.partition(": ")[2].partition(":")[0] for problem in problems] == [
        "mcp.npx.command",
        "mcp.tool.command",
    ]
    assert "Set MemoryDenyWriteExecute=no in the unit of chatd" in problems[0]
