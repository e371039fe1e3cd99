"""What the units promise, tried one after the other inside the container of ``try_systemd.py``."""

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
KEY = "providers.vendor.api_key"
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
text = "I shall not be heard."
[models.fake]
provider = "fake"
model = "fake-1"
[providers.vendor]
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


def shown(name: str, unit: str = "chatd") -> str:
    return systemctl("show", "--value", f"--property={name}", unit).strip()


def main_pid(unit: str = "chatd") -> int:
    return int(shown("MainPID", unit))


def journal(unit: str = "chatd") -> list[dict[str, Any]]:
    """The log lines of this unit that are ours."""
    lines = sh("journalctl", "--output=cat", "--no-pager", f"--unit={unit}").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def said(event: str, unit: str = "chatd") -> list[dict[str, Any]]:
    return [line for line in journal(unit) if line["event"] == event]


def fact(look: Callable[[], Any], seconds: float = 60) -> Any:
    """Look until there is something true to see."""
    until = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() > until:
            raise AssertionError(f"not so within {seconds} s")
        time.sleep(0.05)
    return seen


def ask(path: str, body: object = None, *, url: str = URL) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(url + path, data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def create(content: str) -> str:
    return str(ask("/api/v1/chats", {"content": content})["id"])


def status(chat_id: str) -> str:
    return str(ask(f"/api/v1/chats/{chat_id}")["status"])


def answer(chat_id: str) -> str:
    """Wait for the answer of the model."""
    fact(lambda: status(chat_id) == "waiting")
    *_, last = ask(f"/api/v1/chats/{chat_id}/messages")["items"]
    return "".join(part["text"] for part in last["content"])


def sql(text: str, database: str = "chatd") -> str:
    command = ("runuser", "-u", "postgres", "--", "psql", "-XAtc", text, database)
    return sh(*command).strip()


# -- what is tried -----------------------------------------------------------------------------------


def systemd_finds_nothing_to_say_of_the_units() -> None:
    for name in ("chatd.service", "chatd@.service", "chatd.socket"):
        told = sh("systemd-analyze", "verify", str(UNITS / name))
        assert "chatd" not in told, told
    for name in ("chatd.service", "chatd@.service"):
        told = sh("systemd-analyze", "security", "--offline=true", "--no-pager", str(UNITS / name))
        exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", told)
        assert exposure, told
        assert float(exposure[1]) <= 1.5, told


def a_schema_that_does_not_fit_is_not_restarted() -> None:
    assert "failed" in systemctl("start", "chatd", check=False)
    assert shown("ExecMainStatus") == "65"
    fact(lambda: shown("ActiveState") == "failed")
    assert shown("NRestarts") == "0"


def a_command_in_a_shell_needs_to_know_where_the_credentials_are() -> None:
    command = ("/opt/chatd/bin/chatd", "migrate", "up")
    assert "providers.vendor.api_key: is required" in sh(*command, check=False)
    told = sh("env", f"CREDENTIALS_DIRECTORY={CREDENTIALS}", *command)
    assert "applied 0001" in told, told


def a_configuration_that_cannot_be_used_is_not_restarted() -> None:
    CONFIG.write_text(SETTINGS.replace("{version}", "1") + "[turn]\nmax_step = 3\n")
    systemctl("start", "chatd", check=False)
    assert shown("ExecMainStatus") == "78"
    fact(lambda: shown("ActiveState") == "failed")
    CONFIG.write_text(SETTINGS.replace("{version}", "1"))


def started_means_ready() -> None:
    systemctl("start", "chatd")
    assert ask("/readyz") == {"status": "ready"}
    assert shown("StatusText") == "Serving: 0 chats in hand, 0 streams open"
    assert answer(create("hello")) == "You hear version 1."


def it_is_a_user_of_its_own_with_a_folder_and_a_secret() -> None:
    proc = Path("/proc", str(main_pid()))
    uid = proc.stat().st_uid
    assert 61184 <= uid <= 65519, f"{uid} is not one that systemd gave for the time"
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
    # The file is for root alone: nothing but the credential can have let it in.
    assert (CREDENTIALS / "database.url").stat().st_mode & 0o777 == 0o600


def a_reload_takes_over_what_is_good_and_refuses_what_is_not() -> None:
    before = main_pid()
    CONFIG.write_text(SETTINGS.replace("{version}", "2"))
    systemctl("reload", "chatd")
    assert answer(create("hello")) == "You hear version 2."
    CONFIG.write_text(SETTINGS.replace("{version}", "3") + "[turn]\nmax_step = 3\n")
    systemctl("reload", "chatd")
    assert "the reload was refused: turn.max_step" in shown("StatusText")
    assert said("config.rejected")[-1]["keys"] == ["turn.max_step"]
    assert answer(create("hello")) == "You hear version 2."
    CONFIG.write_text(SETTINGS.replace("{version}", "2"))
    systemctl("reload", "chatd")
    assert "refused" not in shown("StatusText")
    assert main_pid() == before


def a_stopped_process_is_restarted_by_the_watchdog() -> None:
    before = main_pid()
    chat_id = create("[[slow]]")
    os.kill(before, signal.SIGSTOP)
    fact(lambda: shown("NRestarts") == "1")
    fact(lambda: shown("ActiveState") == "active")
    assert main_pid() not in {0, before}
    assert "Watchdog timeout" in sh("journalctl", "--no-pager", "--unit=chatd")
    assert answer(chat_id) == "One two three four five six seven eight nine ten."


def a_short_block_is_logged_and_a_long_one_costs_the_process() -> None:
    before = main_pid()
    assert answer(create("[[short]]")) == "Here I am again."
    assert "_act" in said("loop.blocked")[-1]["frames"][0]
    assert 1.5 < fact(lambda: said("loop.unblocked"))[-1]["seconds"] < 3.5
    assert (shown("NRestarts"), main_pid()) == ("1", before)
    chat_id = create("[[long]]")
    fact(lambda: shown("NRestarts") == "2")
    # The next process would be blocked by it as well; who pauses it lets that one live.
    sql(
        f"UPDATE chats SET status = 'waiting', worker_id = NULL, started_at = NULL,"
        f" heartbeat_at = NULL, pending_since = NULL WHERE id = '{chat_id}'"
    )
    fact(lambda: shown("ActiveState") == "active")
    assert answer(create("hello")) == "You hear version 2."


def a_stop_drains_for_longer_than_systemd_would_wait_by_itself() -> None:
    chat_id = create("[[slow]]")
    fact(lambda: status(chat_id) == "running")
    began = time.monotonic()
    systemctl("stop", "chatd")
    assert time.monotonic() - began > 4, "it was over before the turn can have been"
    told = sh("journalctl", "--no-pager", "--unit=chatd", "_PID=1")
    assert told.count("chatd.service: Deactivated successfully") == 1, told
    assert "timed out" not in told
    moves = sql(
        f"SELECT string_agg(transition, ' ' ORDER BY version) FROM chat_events"
        f" WHERE chat_id = '{chat_id}'"
    )
    assert moves == "create claim finish_turn", moves
    assert sql("SELECT count(*) FROM chats WHERE worker_id IS NOT NULL") == "0"


def an_idle_stop_is_quick() -> None:
    systemctl("start", "chatd")
    began = time.monotonic()
    systemctl("stop", "chatd")
    assert time.monotonic() - began < 2


def several_processes_share_a_socket_and_a_rolling_restart_refuses_nobody() -> None:
    systemctl("start", "chatd.socket", "chatd@1", "chatd@2")
    assert main_pid("chatd@1") != main_pid("chatd@2")
    assert said("http.listening", "chatd@2")[0]["handed_over"] is True
    hammer = subprocess.Popen(
        [sys.executable, __file__, "hammer"], stdout=subprocess.PIPE, text=True
    )
    for unit in ("chatd@1", "chatd@2"):
        systemctl("restart", unit)
    hammer.terminate()
    counted = hammer.communicate()[0]
    assert int(counted) > 100, counted
    assert hammer.returncode == 0


def a_connection_to_the_socket_starts_the_first() -> None:
    systemctl("stop", "chatd@1", "chatd@2")
    assert shown("ActiveState", "chatd@1") == "inactive"
    assert ask("/livez") == {"status": "alive"}  # asked before anybody was there to answer
    fact(lambda: shown("ActiveState", "chatd@1") == "active")
    assert ask("/readyz") == {"status": "ready"}
    systemctl("stop", "chatd.socket", "chatd@1")


def instances_may_have_a_port_each() -> None:
    """What the head of chatd@.service says to do instead of sharing a socket."""
    shutil.copy(UNITS / "chatd.service", UNITS / "chatd@.service")
    (UNITS / "chatd@.service.d" / "port.conf").write_text(PORT_OF_ITS_OWN)
    systemctl("daemon-reload")
    systemctl("start", "chatd@8081", "chatd@8082")
    seen = {ask("/statusz", url=f"http://127.0.0.1:{port}")["pid"] for port in (8081, 8082)}
    assert seen == {main_pid("chatd@8081"), main_pid("chatd@8082")}
    systemctl("stop", "chatd@8081", "chatd@8082")


TRIED = (
    systemd_finds_nothing_to_say_of_the_units,
    a_schema_that_does_not_fit_is_not_restarted,
    a_command_in_a_shell_needs_to_know_where_the_credentials_are,
    a_configuration_that_cannot_be_used_is_not_restarted,
    started_means_ready,
    it_is_a_user_of_its_own_with_a_folder_and_a_secret,
    a_reload_takes_over_what_is_good_and_refuses_what_is_not,
    a_stopped_process_is_restarted_by_the_watchdog,
    a_short_block_is_logged_and_a_long_one_costs_the_process,
    a_stop_drains_for_longer_than_systemd_would_wait_by_itself,
    an_idle_stop_is_quick,
    several_processes_share_a_socket_and_a_rolling_restart_refuses_nobody,
    a_connection_to_the_socket_starts_the_first,
    instances_may_have_a_port_each,
)


def set_up() -> None:
    fact(lambda: "accepting" in sh("pg_isready", check=False))
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


def hammer() -> int:
    """Make requests, each on a connection of its own, until told to stop; print how many went well."""
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(1))
    count = 0
    while not told:
        ask("/api/v1/chats?limit=1")
        count += 1
    print(count)
    return 0


def main() -> int:
    print(sh("systemctl", "--version").splitlines()[0], f"on Python {sys.version.split()[0]}")
    print(f"in a container of {socket.gethostname()}", flush=True)
    set_up()
    for one in TRIED:
        began = time.monotonic()
        try:
            one()
        except Exception as error:  # noqa: BLE001 - what is wrong is printed, with the journal
            traceback.print_exc(file=sys.stdout)
            print(sh("journalctl", "--no-pager", "--lines=25", "--unit=chatd*", check=False))
            print(systemctl("status", "--no-pager", "--full", "chatd", "chatd@1", check=False))
            print(f"NOT {one.__name__}: {error}")
            return 1
        print(f"ok  {one.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
    print("all is well")
    return 0


if __name__ == "__main__":
    sys.exit(hammer() if "hammer" in sys.argv else main())
