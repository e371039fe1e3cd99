"""The systemd units, by systemd's own judgement, and by what the rest of the repository says."""

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
"""The systemd that learnt ``Type=notify-reload``."""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here"
)


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with a program that is here; and a type that this systemd knows."""
    version = int(analyze("--version").stdout.split()[1])
    for file in DEPLOY.glob("chatd*.s*"):
        text = file.read_text().replace("/opt/chatd/bin/chatd", sys.executable)
        if version < NOTIFY_RELOAD:
            text = text.replace("Type=notify-reload", "Type=notify")
        (tmp_path / file.name).write_text(text)
    return tmp_path


@needs_systemd
@pytest.mark.parametrize("name", [*SERVICES, "chatd.socket"])
def test_systemd_finds_nothing_to_say(units: Path, name: str) -> None:
    verified = analyze("verify", "--recursive-errors=no", str(units / name))
    ours = [line for line in verified.stderr.splitlines() if "chatd" in line]
    assert (verified.returncode, ours) == (0, [])


@needs_systemd
@pytest.mark.parametrize("name", SERVICES)
def test_the_exposure_is_small(units: Path, name: str) -> None:
    judged = analyze("security", "--offline=true", "--no-pager", str(units / name))
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", judged.stdout)
    assert exposure, judged
    assert float(exposure[1]) <= 1.5


def unit(name: str) -> dict[str, list[tuple[str, str]]]:
    """Sections with their lines; a key may stand in one several times."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for line in (DEPLOY / name).read_text().splitlines():
        if line.startswith("["):
            lines = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            lines.append((key, value))
    return sections


def test_several_processes_are_like_one_but_for_their_socket_and_folder() -> None:
    one, several = (unit(name) for name in SERVICES)
    differ = {section: {key for key, _ in {*one[section]} ^ {*several[section]}} for section in one}
    assert differ == {
        "Unit": {"Description", "Requires", "After"},
        "Service": {"Sockets", "StateDirectory", "WorkingDirectory"},
        "Install": set(),
    }


def test_what_the_units_say_of_chatd_is_so() -> None:
    service = dict(unit("chatd.service")["Service"])
    codes = {int(code) for code in service["RestartPreventExitStatus"].split()}
    assert codes == {Exit.USAGE, Exit.SCHEMA, Exit.CONFIGURATION}
    grace = Settings().worker.shutdown_grace_seconds
    assert int(service["TimeoutStopSec"]) >= grace + 20  # and chatd asks for more when it is raised
    socket = dict(unit("chatd.socket")["Socket"])
    given = Settings().http
    assert socket["ListenStream"] == f"{given.host}:{given.port}"
    assert socket["FileDescriptorName"] == "http"
