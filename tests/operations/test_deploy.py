"""The files in ``deploy/`` and the metrics page name only metrics and label values that exist."""

import json
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from chatd.telemetry.instruments import Histogram
from chatd.telemetry.metrics import Metrics
from chatd.telemetry.prometheus import PrometheusCollector

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
ALERTS = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())
DASHBOARD = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
DRIVEN = "".join(
    path.read_text()
    for path in (ROOT / "tests").glob("*/test_*.py")
    if "from support.metrics" in path.read_text()
)
"""The tests that observe the metrics of a daemon."""

NAME = re.compile(r"\b(?:chatd|process)_[a-z_]+\b")


def expressions(node: Any = DASHBOARD) -> Iterator[str]:
    """Yield the expressions that a dashboard sends to Prometheus."""
    match node:
        case dict():
            yield from (node[key] for key in ("expr", "query") if isinstance(node.get(key), str))
            for inner in node.values():
                yield from expressions(inner)
        case list():
            for inner in node:
                yield from expressions(inner)


def served_metrics() -> dict[str, set[str]]:
    """Return each name that a scrape may have, and its labels."""
    names: dict[str, set[str]] = {}
    for instrument in Metrics():
        labels = set(instrument.labels)
        if isinstance(instrument, Histogram):
            names |= {f"{instrument.name}_{subcommand}": labels for subcommand in ("sum", "count")}
            names[f"{instrument.name}_bucket"] = labels | {"le"}
        else:
            names[instrument.name] = labels
    for line in PrometheusCollector(Metrics()).render().decode().splitlines():
        if line.startswith("process_"):
            names[line.split()[0]] = set()
    return names


ASKED = [*expressions(), *(rule["expr"] for rule in RULES)]


@pytest.mark.parametrize("expression", ASKED)
def test_expression_uses_existing_metrics_and_labels(expression: str) -> None:
    names = served_metrics()
    found = set(NAME.findall(expression))
    assert found <= names.keys() or expression == "prometheus"
    known = set.union({"instance", "job"}, *(names[name] for name in found))
    matched = re.findall(r"(\w+)\s*(?:=~|!=|=)\s*\"", expression)
    grouped = [
        label.strip()
        for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression)
        for label in labels.split(",")
    ]
    assert {*matched, *grouped} <= known, expression


def test_label_values_in_expressions_exist() -> None:
    """A misspelt value would match nothing without any error."""
    vocabularies = {
        (instrument.name, label): words
        for instrument in Metrics()
        for label, words in zip(instrument.labels, instrument._allowed_values, strict=True)
        if words is not None
    }
    seen = 0
    for expression in ASKED:
        for name, matchers in re.findall(r"(chatd_[a-z_]+)\{([^}]*)\}", expression):
            for label, value in re.findall(r"(\w+)=~?\"([^\"]*)\"", matchers):
                if (name, label) in vocabularies:
                    seen += 1
                    assert {*value.split("|")} <= {*vocabularies[name, label]}, expression
    assert seen >= 4


def test_every_metric_is_documented() -> None:
    rows = [
        f"| `{i.name}` | {i.kind} | {', '.join(f'`{label}`' for label in i.labels)} | {i.description} |"
        for i in Metrics()
    ]
    page = (ROOT / "docs" / "operations" / "metrics.md").read_text()
    missing = [row for row in rows if row not in page]
    assert not missing, "\n".join(missing)
    assert re.findall(r"^\| `(chatd_\w+)`", page, re.MULTILINE) == [i.name for i in Metrics()]
    for instrument in Metrics():
        for label, words in zip(instrument.labels, instrument._allowed_values, strict=True):
            if words is not None and len(words) > 2:
                assert ", ".join(words) in page, (instrument.name, label)


def test_every_metric_is_driven_by_a_test() -> None:
    untried = [i.name for i in Metrics() if i.name not in DRIVEN]
    assert not untried


def test_every_alert_has_a_section_in_the_runbook() -> None:
    """Each section has four fixed lines, and none is without its alert."""
    page = "docs/operations/runbook.md"
    _, *sections = re.split(r"^## (\w+)$", (ROOT / page).read_text(), flags=re.MULTILINE)
    runbook = dict(zip(sections[::2], sections[1::2], strict=True))
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names)) > 10
    assert runbook.keys() == set(names)
    for rule in RULES:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["runbook_url"] == f"{page}#{rule['alert'].lower()}"
        lines = re.findall(r"^\* \*\*(\w+)\*\*: ", runbook[rule["alert"]], re.MULTILINE)
        assert lines == ["Meaning", "Impact", "Diagnose", "Act"], rule["alert"]


def test_every_alert_has_firing_and_silent_test() -> None:
    """In ``alerts.test.yaml``, which promtool runs, each alert fires once and stays silent once."""
    fired, silent = set(), set()
    for test in yaml.safe_load((DEPLOY / "alerts.test.yaml").read_text())["tests"]:
        for one in test["alert_rule_test"]:
            (fired if one.get("exp_alerts") else silent).add(one["alertname"])
    names = {rule["alert"] for rule in RULES}
    assert names - fired == set()
    assert names - silent == set()


def test_panels_have_titles_and_do_not_overlap() -> None:
    places = set()
    for panel in DASHBOARD["panels"]:
        assert panel["title"]
        position = panel["gridPos"]
        across, down = (
            range(position["x"], position["x"] + position["w"]),
            range(position["y"], position["y"] + position["h"]),
        )
        cells = {(x, y) for x in across for y in down}
        assert not cells & places, panel["title"]
        places |= cells
        assert position["x"] + position["w"] <= 24
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("command", [("check", "alerts.yaml"), ("test", "alerts.test.yaml")])
def test_promtool_accepts_rules(command: tuple[str, str]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    subcommand, file = command
    completed = subprocess.run(
        [promtool, subcommand, "rules", DEPLOY / file],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr


def test_hadolint_accepts_containerfile() -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    completed = subprocess.run(
        [hadolint, DEPLOY / "Containerfile"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr


def test_compose_waits_for_the_database_on_tcp() -> None:
    """During its initialisation the image's server answers on the socket, and ends once more."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert "--host=127.0.0.1" in services["postgres"]["healthcheck"]["test"]
    assert services["migrate"]["command"] == ["migrate", "up"]
