"""The systemd units: valid for systemd, and consistent with the rest of the repository."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from chatd.cli.exit_codes import Exit
from chatd.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
SERVICES = ["chatd.service", "chatd@.service"]
NOTIFY_RELOAD = 253
"""First version of systemd with ``Type=notify-reload``."""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """Write the units with a program that exists here, and a type that this systemd supports."""
    version = int(analyze("--version").stdout.split()[1])
    for file in DEPLOY.glob("chatd*.s*"):
        text = file.read_text().replace("/opt/chatd/bin/chatd", sys.executable)
        if version < NOTIFY_RELOAD:
            text = text.replace("Type=notify-reload", "Type=notify")
        (tmp_path / file.name).write_text(text)
    return tmp_path


@needs_systemd
@pytest.mark.parametrize("name", [*SERVICES, "chatd.socket"])
def test_systemd_verify_reports_nothing(units: Path, name: str) -> None:
    verified = analyze("verify", "--recursive-errors=no", str(units / name))
    messages = [line for line in verified.stderr.splitlines() if "chatd" in line]
    assert (verified.returncode, messages) == (0, [])


@needs_systemd
@pytest.mark.parametrize("name", SERVICES)
def test_exposure_level_is_low(units: Path, name: str) -> None:
    report = analyze("security", "--offline=true", "--no-pager", str(units / name))
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", report.stdout)
    assert exposure, report
    assert float(exposure[1]) <= 1.5


def unit(name: str) -> dict[str, list[tuple[str, str]]]:
    """Return the sections with their lines. A key may occur several times."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for line in (DEPLOY / name).read_text().splitlines():
        if line.startswith("["):
            lines = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            lines.append((key, value))
    return sections


def test_template_unit_differs_in_socket_and_folder_only() -> None:
    one, several = (unit(name) for name in SERVICES)
    differ = {section: {key for key, _ in {*one[section]} ^ {*several[section]}} for section in one}
    assert differ == {
        "Unit": {"Description", "Requires", "After"},
        "Service": {"Sockets", "StateDirectory", "WorkingDirectory"},
        "Install": set(),
    }


def test_exit_codes_and_options_in_the_units_exist() -> None:
    service = dict(unit("chatd.service")["Service"])
    codes = {int(code) for code in service["RestartPreventExitStatus"].split()}
    assert codes == {Exit.USAGE, Exit.SCHEMA, Exit.CONFIGURATION}
    grace = Settings().worker.shutdown_grace_seconds
    assert int(service["TimeoutStopSec"]) >= grace + 20  # and chatd asks for more when it is raised
    socket = dict(unit("chatd.socket")["Socket"])
    given = Settings().http
    assert socket["ListenStream"] == f"{given.host}:{given.port}"
    assert socket["FileDescriptorName"] == "http"
