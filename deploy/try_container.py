#!/usr/bin/env python3
"""Build the image and try it: read-only, for another user, as PID 1, against a PostgreSQL.

    .venv/bin/python deploy/try_container.py [--base IMAGE] [--debootstrap SUITE --cache FOLDER]

Needs buildah, podman and runc (Debian packages of these names), and the extra 'embedded' for the
database. Without the tools or the base image it prints that and exits with 77, "skipped". Where no
registry can be reached, --debootstrap makes a base of Debian's own Python.
"""

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from chatd.embedded import Postgres

REPOSITORY = Path(__file__).resolve().parents[1]
TOOLS = ("buildah", "podman", "runc")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
IMAGE = "localhost/chatd-tried"
OWN_BASE = "localhost/chatd-tried-base"
SKIPPED = 77
QUICK_SECONDS = 2.0
"""Time limit for a stop without running turns."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default_cache = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chatd-try-container"
    )
    parser.add_argument(
        "--base", default="python:3.12-slim", help="image to build on (%(default)s)"
    )
    parser.add_argument("--debootstrap", metavar="SUITE", help="build on this Debian instead")
    parser.add_argument(
        "--cache", type=Path, default=default_cache, help="folder for that Debian (%(default)s)"
    )
    arguments = parser.parse_args()
    tools = (*TOOLS, "debootstrap") if arguments.debootstrap else TOOLS
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        print(f"skipped: needs root{''.join(f' and {tool}' for tool in missing)}")
        return SKIPPED
    base = (
        make_base(arguments.debootstrap, arguments.cache)
        if arguments.debootstrap
        else arguments.base
    )
    if not (arguments.debootstrap or pulled(base)):
        print(f"skipped: {base} cannot be pulled (--debootstrap makes a base without a registry)")
        return SKIPPED
    build(base)
    print(f"ok  built, {megabytes(IMAGE)} MB, of which {megabytes(base)} are {base}", flush=True)
    with socket.socket() as free, socket.socket() as other:
        for listener in (free, other):
            listener.bind(("127.0.0.1", 0))
        database_port, port = (listener.getsockname()[1] for listener in (free, other))
    with Postgres(port=database_port) as server:
        run_checks(server.tcp_dsn, port)
    print("all checks passed")
    return 0


def pulled(base: str) -> bool:
    """Return whether the image can be pulled."""
    return subprocess.run(["buildah", "pull", "--quiet", base], check=False).returncode == 0


def make_base(suite: str, cache: Path) -> str:
    """Create a base image of Debian's own Python. Return its name."""
    root = cache / suite
    if not (root / "made").exists():
        shutil.rmtree(root, ignore_errors=True)
        cache.mkdir(parents=True, exist_ok=True)
        packages = "--include=python3,python3-venv,ca-certificates"
        run("debootstrap", "--variant=minbase", packages, suite, root)
        for unneeded in (
            "var/cache/apt/archives",
            "var/lib/apt/lists",
            "usr/share/doc",
            "usr/share/locale",
        ):
            shutil.rmtree(root / unneeded, ignore_errors=True)
        (root / "made").touch()
    container = run("buildah", "from", "scratch").strip()
    run("buildah", "add", "--quiet", container, root, "/")
    run("buildah", "commit", "--quiet", "--rm", container, OWN_BASE)
    return OWN_BASE


def build(base: str) -> None:
    # The certificates of this machine, which may reach its package index through a proxy.
    certificates = f"--volume={CERTIFICATES}:{CERTIFICATES}:ro"
    options = ("--runtime=runc", "--network=host", "--format=docker", certificates)
    command = (
        "buildah",
        "build",
        "--quiet",
        "--layers",
        *options,
        f"--build-arg=BASE={base}",
        f"--tag={IMAGE}",
    )
    run(*command, f"--file={REPOSITORY}/deploy/Containerfile", REPOSITORY)


def megabytes(image: str) -> int:
    return int(run("podman", "image", "inspect", "--format={{.Size}}", image)) // 1_000_000


def run_checks(dsn: str, port: int) -> None:
    settings = {
        "CHATD_DATABASE__URL": dsn,
        "CHATD_HTTP__PORT": port,
        "CHATD_PROVIDERS__FAKE__KIND": "scripted",
        "CHATD_MODELS__FAKE__PROVIDER": "fake",
        "CHATD_MODELS__FAKE__MODEL": "fake-1",
    }
    # Explicit limits, because this process may not be allowed to pass on its own.
    options = (
        *("--runtime=runc", "--network=host", "--read-only", "--cap-drop=all", "--no-healthcheck"),
        *("--security-opt=no-new-privileges", "--ulimit=nofile=4096:4096"),
        "--ulimit=nproc=1024:1024",
        *(f"--env={name}={value}" for name, value in settings.items()),
    )
    run("podman", "run", "--rm", *options, IMAGE, "migrate", "up")
    print("ok  migrated by a job of the same image", flush=True)
    with container(*options) as name:
        health = run("podman", "image", "inspect", "--format={{json .HealthCheck.Test}}", IMAGE)
        command = json.loads(health)[1:]
        until = time.monotonic() + 60
        while subprocess.run(["podman", "exec", name, *command], check=False).returncode:
            if time.monotonic() > until:
                raise SystemExit(run("podman", "logs", name))
            time.sleep(0.2)
        print(f"ok  healthy, by {' '.join(command)}", flush=True)
        seen = run(
            "podman", "exec", name, "sh", "-c", "id -u; touch /x 2>/dev/null || cat /proc/1/comm"
        )
        assert seen.split() == ["10001", "chatd"], seen
        print("ok  PID 1 of a read-only root, and not root", flush=True)
        run("podman", "kill", "--signal=TERM", name)
        assert run("podman", "wait", name).strip() == "0"
        logs = run("podman", "logs", name)
        assert "daemon.stopped" in logs
        # From the signal's arrival to the end of the container, without podman's own time.
        (stopping,) = (text for text in logs.splitlines() if '"daemon.stopping"' in text)
        began = datetime.fromisoformat(json.loads(stopping)["timestamp"])
        ended = json.loads(run("podman", "inspect", "--format={{json .State.FinishedAt}}", name))
        seconds = (datetime.fromisoformat(ended) - began).total_seconds()
        assert 0 < seconds < QUICK_SECONDS, seconds
        print(f"ok  stopped in order {seconds:.2f} s after TERM", flush=True)
        assert subprocess.run(["podman", "exec", name, *command], check=False).returncode


@contextlib.contextmanager
def container(*options: str) -> Iterator[str]:
    name = f"chatd-tried-{os.getpid()}"
    run("podman", "run", "--detach", f"--name={name}", *options, IMAGE)
    try:
        yield name
    finally:
        run("podman", "rm", "--force", name)


def run(*command: object) -> str:
    done = subprocess.run(
        [*map(str, command)],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}:\n{done.stdout}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
