"""The manifests of deploy/: their settings, probes and time limits agree with the code."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from chatd.daemon import openapi
from chatd.settings import Settings, load_with_origins

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
KUBERNETES = {
    manifest["kind"]: manifest
    for manifest in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
}
ORDERLY_END_SECONDS = 20
"""Time that ending streams, releasing chats and closing takes if all goes well."""


def settings(folder: Path, text: str, environment: dict[str, Any]) -> Settings:
    """Return the settings of a container, with its secrets in a file of the test."""
    config = folder / "config.toml"
    config.write_text(text)
    secret = folder / "secret"
    secret.write_text("postgresql://chatd@postgres/chatd")
    environ = {k: str(secret) if k.endswith("_FILE") else v for k, v in environment.items()}
    return load_with_origins(config, environ | {"CHATD_CONFIG": ""}).settings


def seconds(text: str) -> int:
    assert text.endswith("s"), text
    return int(text[:-1])


def pods() -> dict[str, Any]:
    return {kind: KUBERNETES[kind]["spec"]["template"]["spec"] for kind in ("Job", "Deployment")}


def test_compose_replicas_have_time_to_drain_and_start_after_the_migration(tmp_path: Path) -> None:
    services = COMPOSE["services"]
    text = COMPOSE["configs"]["models"]["content"]
    for name in ("chatd-a", "chatd-b"):
        replica = services[name]
        configured = settings(tmp_path, text, replica["environment"])
        needed = configured.http.drain_seconds + configured.worker.shutdown_grace_seconds
        assert seconds(replica["stop_grace_period"]) >= needed + ORDERLY_END_SECONDS
        assert replica["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
        assert replica["read_only"]
        assert "ports" not in replica
    assert services["migrate"]["environment"] == services["chatd-a"]["environment"]


def test_proxy_notices_draining_and_drops_idle_connections_first(
    tmp_path: Path,
) -> None:
    replica = COMPOSE["services"]["chatd-a"]
    configured = settings(tmp_path, COMPOSE["configs"]["models"]["content"], replica["environment"])
    caddy = dict(
        re.findall(r"^\s+(\w+) (.+?)(?: \{)?$", (DEPLOY / "Caddyfile").read_text(), re.MULTILINE)
    )
    detection_seconds = seconds(caddy["health_interval"]) + seconds(caddy["health_timeout"])
    assert detection_seconds < configured.http.drain_seconds
    assert seconds(caddy["keepalive"]) < configured.http.keepalive_timeout_seconds
    assert caddy["flush_interval"] == "-1"
    assert caddy["health_uri"] == "/readyz"
    assert caddy["reverse_proxy"].split() == ["chatd-a:8080", "chatd-b:8080"]


@pytest.mark.parametrize("kind", ["Job", "Deployment"])
def test_pods_are_confined_and_use_authentication(tmp_path: Path, kind: str) -> None:
    (container,) = pods()[kind]["containers"]
    configured = settings(
        tmp_path,
        KUBERNETES["ConfigMap"]["data"]["config.toml"],
        {variable["name"]: variable["value"] for variable in container["env"]},
    )
    assert configured.auth.mode != "none"
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"]
    assert security["runAsNonRoot"]
    assert f"USER {security['runAsUser']}:" in (DEPLOY / "Containerfile").read_text()


def test_pod_has_time_to_drain_and_existing_probes(tmp_path: Path) -> None:
    pod = pods()["Deployment"]
    (container,) = pod["containers"]
    text = KUBERNETES["ConfigMap"]["data"]["config.toml"]
    configured = settings(tmp_path, text, {"CHATD_DATABASE__URL": "postgresql:///chatd"})
    wait_seconds = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    needed = wait_seconds + configured.http.drain_seconds + configured.worker.shutdown_grace_seconds
    assert pod["terminationGracePeriodSeconds"] >= needed + ORDERLY_END_SECONDS
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] in openapi()["paths"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    budget = KUBERNETES["PodDisruptionBudget"]["spec"]
    assert budget["minAvailable"] < KUBERNETES["Deployment"]["spec"]["replicas"]
    labels = KUBERNETES["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"] == labels == KUBERNETES["Service"]["spec"]["selector"]
