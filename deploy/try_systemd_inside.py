"""Checks of the systemd units, run one after the other inside the container of ``try_systemd.py``."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

UNITS = Path("/etc/systemd/system")
CONFIG = Path("/etc/chatd/config.toml")
CREDENTIALS = Path("/etc/chatd/credentials")
KEY = "providers.openai.api_key"
URL = "http://127.0.0.1:8080"
PASSWORD = "a-word-that-must-not-be-seen"
SECRETS = {"database.url": f"postgresql://chatd:{PASSWORD}@127.0.0.1/chatd", KEY: PASSWORD}

SETTINGS = """
[worker]
shutdown_grace_seconds = 30
[providers.fake]
kind = "scripted"
[[providers.fake.script]]
text = "You hear version {version}."
[[providers.fake.scripts.slow]]
text = "One two three four five six seven eight nine ten."
chunks = 10
delay_seconds = 0.8
[[providers.fake.scripts.short]]
block_seconds = 2
[[providers.fake.scripts.short]]
text = "Here I am again."
[[providers.fake.scripts.long]]
block_seconds = 60
attempts = [1]
[[providers.fake.scripts.long]]
text = "I shall not be sent."
[models.fake]
provider = "fake"
model = "fake-1"
[providers.openai]
kind = "openai"
"""
DROP_IN = f"""
[Service]
WatchdogSec=4
TimeoutStopSec=3
LoadCredential={KEY}:{CREDENTIALS / KEY}
"""
PORT_OF_ITS_OWN = """
[Service]
Environment=CHATD_HTTP__PORT=%i
"""


def sh(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def systemctl(*words: str, check: bool = True) -> str:
    return sh("systemctl", *words, check=check)


def unit_property(name: str, unit: str = "chatd") -> str:
    return systemctl("show", "--value", f"--property={name}", unit).strip()


def main_pid(unit: str = "chatd") -> int:
    return int(unit_property("MainPID", unit))


def journal(unit: str = "chatd") -> list[dict[str, Any]]:
    """Return the log lines of this unit that chatd wrote."""
    lines = sh("journalctl", "--output=cat", "--no-pager", f"--unit={unit}").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def logged(event: str, unit: str = "chatd") -> list[dict[str, Any]]:
    return [line for line in journal(unit) if line["event"] == event]


def eventually(look: Callable[[], Any], seconds: float = 60) -> Any:
    """Poll until ``look`` returns something true."""
    until = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() > until:
            raise AssertionError(f"not so within {seconds} s")
        time.sleep(0.05)
    return seen


def request(path: str, body: object = None, *, url: str = URL) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    prepared = urllib.request.Request(url + path, data=data, headers=headers)
    with urllib.request.urlopen(prepared, timeout=30) as response:
        return json.load(response)


def create(content: str) -> str:
    return str(request("/api/v1/chats", {"content": content})["id"])


def status(chat_id: str) -> str:
    return str(request(f"/api/v1/chats/{chat_id}")["status"])


def answer(chat_id: str) -> str:
    """Wait for the answer of the model, and return it."""
    eventually(lambda: status(chat_id) == "waiting")
    *_, last = request(f"/api/v1/chats/{chat_id}/messages")["items"]
    return "".join(part["text"] for part in last["content"])


def sql(text: str, database: str = "chatd") -> str:
    command = ("runuser", "-u", "postgres", "--", "psql", "-XAtc", text, database)
    return sh(*command).strip()


# -- the checks -----------------------------------------------------------------------------------


def systemd_analyze_accepts_the_units() -> None:
    for name in ("chatd.service", "chatd@.service", "chatd.socket"):
        output = sh("systemd-analyze", "verify", str(UNITS / name))
        assert "chatd" not in output, output
    for name in ("chatd.service", "chatd@.service"):
        output = sh(
            "systemd-analyze", "security", "--offline=true", "--no-pager", str(UNITS / name)
        )
        exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", output)
        assert exposure, output
        assert float(exposure[1]) <= 1.5, output


def a_schema_mismatch_is_not_restarted() -> None:
    assert "failed" in systemctl("start", "chatd", check=False)
    assert unit_property("ExecMainStatus") == "65"
    eventually(lambda: unit_property("ActiveState") == "failed")
    assert unit_property("NRestarts") == "0"


def a_shell_command_needs_credentials_directory() -> None:
    command = ("/opt/chatd/bin/chatd", "migrate", "up")
    assert "providers.openai.api_key: is required" in sh(*command, check=False)
    output = sh("env", f"CREDENTIALS_DIRECTORY={CREDENTIALS}", *command)
    assert "applied 0001" in output, output


def an_invalid_configuration_is_not_restarted() -> None:
    CONFIG.write_text(SETTINGS.replace("{version}", "1") + "[turn]\nmax_step = 3\n")
    systemctl("start", "chatd", check=False)
    assert unit_property("ExecMainStatus") == "78"
    eventually(lambda: unit_property("ActiveState") == "failed")
    CONFIG.write_text(SETTINGS.replace("{version}", "1"))


def started_means_ready() -> None:
    systemctl("start", "chatd")
    assert request("/readyz") == {"status": "ready"}
    assert unit_property("StatusText") == "Serving: 0 chats leased, 0 streams open"
    assert answer(create("hello")) == "You hear version 1."


def it_runs_as_its_own_user_with_a_folder_and_a_secret() -> None:
    proc = Path("/proc", str(main_pid()))
    uid = proc.stat().st_uid
    assert 61184 <= uid <= 65519, f"{uid} is not a dynamic user of systemd"
    state = Path("/var/lib/private/chatd")
    assert (state.stat().st_uid, state.stat().st_mode & 0o777) == (uid, 0o700)
    environment = (proc / "environ").read_bytes()
    assert b"CREDENTIALS_DIRECTORY=" in environment
    assert PASSWORD.encode() not in environment
    assert PASSWORD.encode() not in (proc / "cmdline").read_bytes()
    assert PASSWORD not in CONFIG.read_text()
    assert PASSWORD not in sh("journalctl", "--no-pager")
    effective = re.search(r"CapEff:\s*(\w+)", (proc / "status").read_text())
    assert effective is not None
    assert int(effective[1], 16) == 0
    # Only root can read the file, so the process has the secret from the credential.
    assert (CREDENTIALS / "database.url").stat().st_mode & 0o777 == 0o600


def a_reload_applies_valid_and_rejects_invalid_configuration() -> None:
    before = main_pid()
    CONFIG.write_text(SETTINGS.replace("{version}", "2"))
    systemctl("reload", "chatd")
    assert answer(create("hello")) == "You hear version 2."
    CONFIG.write_text(SETTINGS.replace("{version}", "3") + "[turn]\nmax_step = 3\n")
    systemctl("reload", "chatd")
    assert "the reload was rejected: turn.max_step" in unit_property("StatusText")
    assert logged("config.rejected")[-1]["keys"] == ["turn.max_step"]
    assert answer(create("hello")) == "You hear version 2."
    CONFIG.write_text(SETTINGS.replace("{version}", "2"))
    systemctl("reload", "chatd")
    assert "rejected" not in unit_property("StatusText")
    assert main_pid() == before


def a_stopped_process_is_restarted_by_the_watchdog() -> None:
    before = main_pid()
    chat_id = create("[[slow]]")
    os.kill(before, signal.SIGSTOP)
    eventually(lambda: unit_property("NRestarts") == "1")
    eventually(lambda: unit_property("ActiveState") == "active")
    assert main_pid() not in {0, before}
    assert "Watchdog timeout" in sh("journalctl", "--no-pager", "--unit=chatd")
    assert answer(chat_id) == "One two three four five six seven eight nine ten."


def a_short_block_is_logged_and_a_long_one_restarts_the_process() -> None:
    before = main_pid()
    assert answer(create("[[short]]")) == "Here I am again."
    assert "_run_action" in logged("loop.blocked")[-1]["frames"][0]
    assert 1.5 < eventually(lambda: logged("loop.unblocked"))[-1]["seconds"] < 3.5
    assert (unit_property("NRestarts"), main_pid()) == ("1", before)
    chat_id = create("[[long]]")
    eventually(lambda: unit_property("NRestarts") == "2")
    # The chat would block the next process as well, so set it to waiting.
    sql(
        f"UPDATE chats SET status = 'waiting', worker_id = NULL, started_at = NULL,"
        f" heartbeat_at = NULL, pending_since = NULL WHERE id = '{chat_id}'"
    )
    eventually(lambda: unit_property("ActiveState") == "active")
    assert answer(create("hello")) == "You hear version 2."


def a_stop_drains_for_longer_than_the_stop_timeout() -> None:
    chat_id = create("[[slow]]")
    eventually(lambda: status(chat_id) == "running")
    began = time.monotonic()
    systemctl("stop", "chatd")
    assert time.monotonic() - began > 4, "it ended before the turn can have"
    output = sh("journalctl", "--no-pager", "--unit=chatd", "_PID=1")
    assert output.count("chatd.service: Deactivated successfully") == 1, output
    assert "timed out" not in output
    transitions = sql(
        f"SELECT string_agg(transition, ' ' ORDER BY version) FROM chat_events"
        f" WHERE chat_id = '{chat_id}'"
    )
    assert transitions == "create claim finish_turn", transitions
    assert sql("SELECT count(*) FROM chats WHERE worker_id IS NOT NULL") == "0"


def an_idle_stop_is_quick() -> None:
    systemctl("start", "chatd")
    began = time.monotonic()
    systemctl("stop", "chatd")
    assert time.monotonic() - began < 2


def a_rolling_restart_on_a_shared_socket_refuses_no_connection() -> None:
    systemctl("start", "chatd.socket", "chatd@1", "chatd@2")
    assert main_pid("chatd@1") != main_pid("chatd@2")
    assert logged("http.listening", "chatd@2")[0]["handed_over"] is True
    load = subprocess.Popen([sys.executable, __file__, "load"], stdout=subprocess.PIPE, text=True)
    for unit in ("chatd@1", "chatd@2"):
        systemctl("restart", unit)
    load.terminate()
    succeeded = load.communicate()[0]
    assert int(succeeded) > 100, succeeded
    assert load.returncode == 0


def a_connection_to_the_socket_starts_a_process() -> None:
    systemctl("stop", "chatd@1", "chatd@2")
    assert unit_property("ActiveState", "chatd@1") == "inactive"
    assert request("/livez") == {"status": "alive"}  # requested before a process was running
    eventually(lambda: unit_property("ActiveState", "chatd@1") == "active")
    assert request("/readyz") == {"status": "ready"}
    systemctl("stop", "chatd.socket", "chatd@1")


def instances_may_have_a_port_each() -> None:
    """Follow the head of chatd@.service, as an alternative to sharing a socket."""
    shutil.copy(UNITS / "chatd.service", UNITS / "chatd@.service")
    (UNITS / "chatd@.service.d" / "port.conf").write_text(PORT_OF_ITS_OWN)
    systemctl("daemon-reload")
    systemctl("start", "chatd@8081", "chatd@8082")
    seen = {request("/statusz", url=f"http://127.0.0.1:{port}")["pid"] for port in (8081, 8082)}
    assert seen == {main_pid("chatd@8081"), main_pid("chatd@8082")}
    systemctl("stop", "chatd@8081", "chatd@8082")


CHECKS = (
    systemd_analyze_accepts_the_units,
    a_schema_mismatch_is_not_restarted,
    a_shell_command_needs_credentials_directory,
    an_invalid_configuration_is_not_restarted,
    started_means_ready,
    it_runs_as_its_own_user_with_a_folder_and_a_secret,
    a_reload_applies_valid_and_rejects_invalid_configuration,
    a_stopped_process_is_restarted_by_the_watchdog,
    a_short_block_is_logged_and_a_long_one_restarts_the_process,
    a_stop_drains_for_longer_than_the_stop_timeout,
    an_idle_stop_is_quick,
    a_rolling_restart_on_a_shared_socket_refuses_no_connection,
    a_connection_to_the_socket_starts_a_process,
    instances_may_have_a_port_each,
)


def set_up() -> None:
    eventually(lambda: "accepting" in sh("pg_isready", check=False))
    sql(f"CREATE ROLE chatd LOGIN PASSWORD '{PASSWORD}'", "postgres")
    sql("CREATE DATABASE chatd OWNER chatd", "postgres")
    for name in ("chatd.service", "chatd@.service", "chatd.socket"):
        shutil.copy(Path(__file__).parent / name, UNITS)
    for unit in ("chatd.service", "chatd@.service"):
        drop_in = UNITS / f"{unit}.d"
        drop_in.mkdir()
        (drop_in / "tried.conf").write_text(DROP_IN)
    CREDENTIALS.mkdir(parents=True)
    for name, secret in SECRETS.items():
        (CREDENTIALS / name).write_text(secret + "\n")
        (CREDENTIALS / name).chmod(0o600)
    CONFIG.write_text(SETTINGS.replace("{version}", "1"))
    systemctl("daemon-reload")


def load() -> int:
    """Send requests, each on a connection of its own, until SIGTERM; print how many succeeded."""
    stop_requested: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stop_requested.append(1))
    count = 0
    while not stop_requested:
        request("/api/v1/chats?limit=1")
        count += 1
    print(count)
    return 0


def main() -> int:
    print(sh("systemctl", "--version").splitlines()[0], f"on Python {sys.version.split()[0]}")
    print(f"in a container of {socket.gethostname()}", flush=True)
    set_up()
    for check in CHECKS:
        began = time.monotonic()
        try:
            check()
        except Exception as error:  # noqa: BLE001 - the error is printed, with the journal
            traceback.print_exc(file=sys.stdout)
            print(sh("journalctl", "--no-pager", "--lines=25", "--unit=chatd*", check=False))
            print(systemctl("status", "--no-pager", "--full", "chatd", "chatd@1", check=False))
            print(f"FAILED {check.__name__}: {error}")
            return 1
        print(f"ok  {check.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
    print("all checks passed")
    return 0


if __name__ == "__main__":
    sys.exit(load() if "load" in sys.argv else main())
