"""Environments that platforms make: service links of Kubernetes and Docker, and mistakes among them.

Kubernetes documents the names in "Discovering services", Docker in "Legacy container links".
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from support.commands import CommandResult, clean_environment, run_in_environment

from chatd.cli.exit_codes import Exit

MANIFEST = Path(__file__).parents[2] / "deploy" / "kubernetes.yaml"
KUBERNETES = {
    manifest["kind"]: manifest for manifest in yaml.safe_load_all(MANIFEST.read_text("utf-8"))
}


def service_links(name: str, address: str, *ports: tuple[str, int, str]) -> dict[str, str]:
    """Return the variables that Kubernetes sets for a Service with these ports: name, number, protocol."""
    host = f"[{address}]" if ":" in address else address
    prefix = name.upper().replace("-", "_")
    _, first, protocol = ports[0]
    links = {
        f"{prefix}_SERVICE_HOST": address,
        f"{prefix}_SERVICE_PORT": str(first),
        f"{prefix}_PORT": f"{protocol}://{host}:{first}",
    }
    for port_name, number, protocol in ports:
        port = f"{prefix}_PORT_{number}_{protocol.upper()}"
        links |= {
            port: f"{protocol}://{host}:{number}",
            f"{port}_PROTO": protocol,
            f"{port}_PORT": str(number),
            f"{port}_ADDR": address,
        }
        if port_name:
            links[f"{prefix}_SERVICE_PORT_{port_name.upper().replace('-', '_')}"] = str(number)
    return links


ENVIRONMENTS = {
    "the manifest's own Service": service_links("chatd", "10.96.0.17", ("http", 80, "tcp")),
    "port without a name": service_links("chatd", "10.0.0.1", ("", 8080, "tcp")),
    "several ports": service_links(
        "chatd", "10.0.0.1", ("http", 8080, "tcp"), ("web-admin", 53, "udp"), ("s", 9, "sctp")
    ),
    "IPv6": service_links("chatd", "fd00:10:96::a", ("http", 8080, "tcp")),
    "longer name": service_links("chatd-metrics", "10.0.0.1", ("prom", 9090, "tcp")),
    "name like a section": service_links("chatd-http", "10.0.0.1", ("http", 8080, "tcp")),
    "name like a variable": service_links("chatd-url", "10.0.0.1", ("http", 8080, "tcp")),
    "name with numbers": service_links("chatd-2-eu", "10.0.0.1", ("", 1, "tcp")),
    "link of Docker": {
        "CHATD_NAME": "/caller/chatd",
        "CHATD_PORT": "tcp://172.17.0.2:8080",
        "CHATD_PORT_8080_TCP": "tcp://172.17.0.2:8080",
        "CHATD_PORT_8080_TCP_PROTO": "tcp",
        "CHATD_PORT_8080_TCP_PORT": "8080",
        "CHATD_PORT_8080_TCP_ADDR": "172.17.0.2",
        "CHATD_ENV_CHATD_HTTP__PORT": "8080",
        "CHATD_ENV_LANG": "C.UTF-8",
        "CHATD_ENV_PEM": "several\nlines",
    },
}

MISSPELT = {
    "CHATD_PORT": "8080",
    "CHATD_HTTP_PORT": "8080",
    "CHATD_HTTP_HOST": "0.0.0.0",
    "CHATD_DATABASE_URL": "postgresql:///x",
    "CHATD_HTTP__PROT": "8080",
    "CHATD_SERVICE__HOST": "10.0.0.1",
    "CHATD_SERVICE_HOST": "chatd.example.com",
    "CHATD_SERVICE_PORT__HTTP": "80",
    "CHATD_PORT_8080": "tcp://10.0.0.1:8080",
    "CHATD_PORT_8080_TCP": "8080",
    "CHATD_PORT_8080_TCP_HOST": "10.0.0.1",
    "CHATD_NAME": "chatd",
    "CHATD_WORKER_MAX_CHATS": "5",
}


def check(config: Path, environment: Mapping[str, str]) -> CommandResult:
    """Run ``chatd config check`` in this environment."""
    return run_in_environment("config", "check", "--config", str(config), environment=environment)


def check_as_somebody(config: Path) -> list[str]:
    """Return the errors of ``chatd config check`` without the rights of root."""
    prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    ended = subprocess.run(
        [*(prefix if os.geteuid() == 0 else []), sys.executable, "-m", "chatd", "config", "check",
         "--config", config],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    assert ended.returncode == Exit.CONFIGURATION
    return ended.stderr.splitlines()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return the configuration of the manifest, with a file for its secret."""
    (tmp_path / "url").write_text("postgresql://chatd@db/chatd\n")
    file = tmp_path / "config.toml"
    text = KUBERNETES["ConfigMap"]["data"]["config.toml"]
    file.write_text(f"{text}\n[database]\nurl_file = 'url'\n")
    return file


@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=[*ENVIRONMENTS])
def test_links_are_no_settings(config: Path, environment: dict[str, str]) -> None:
    ended = check(config, environment)
    assert (ended.exit_code, ended.stderr) == (Exit.DONE, "")


def test_misspelt_settings_among_links_are_refused(config: Path) -> None:
    ended = check(config, ENVIRONMENTS["longer name"] | MISSPELT)
    assert ended.exit_code == Exit.CONFIGURATION
    lines = ended.stderr.splitlines()
    assert [line.split()[1] for line in lines] == [f"{name}:" for name in sorted(MISSPELT)]
    assert all("unknown key" in line for line in lines)
    expected = "CHATD_HTTP_PORT: unknown key; did you mean CHATD_HTTP__PORT? (environment)"
    assert f"chatd: {expected}" in lines


def test_files_that_may_not_be_read_are_named(config: Path, tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.chmod(0o200)
    reason = f"database.url_file: cannot read {secret}: Permission denied (file {config})"
    assert check_as_somebody(config) == [f"chatd: {reason}"]
    config.chmod(0o200)
    assert check_as_somebody(config) == [f"chatd: {config}: Permission denied (file)"]
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o200)
    inside = folder / "config.toml"
    assert check_as_somebody(inside) == [f"chatd: {inside}: Permission denied (file)"]


@pytest.mark.parametrize("kind", ["Job", "Deployment"])
def test_pods_ask_for_no_service_links(kind: str) -> None:
    assert KUBERNETES[kind]["spec"]["template"]["spec"]["enableServiceLinks"] is False
