#!/usr/bin/env python3
"""Try the units under a real systemd: PID 1 of a container, with a PostgreSQL, in about two minutes.

    deploy/try_systemd.py [--cache FOLDER] [--suite trixie] [--mirror URL]

Needs root, systemd-nspawn and debootstrap (Debian: systemd-container, debootstrap). Without them it prints
that and exits with 77, which test runners take for "skipped". The first run creates the container's root in
the cache folder and takes some minutes more. It changes nothing on the host, nor in the root, because the
container writes to memory.

``try_systemd_inside.py`` has the checks, one function for each property of the units.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "libnss-systemd",
    "python3",
    "python3-venv",
    "postgresql",
)
SKIPPED = 77
UNIT = """\
[Unit]
Description=Try chatd
After=multi-user.target postgresql.service
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=oneshot
ExecStart=/usr/bin/python3 /tried/deploy/try_systemd_inside.py
StandardOutput=file:/result/report
StandardError=inherit
TimeoutStartSec=600
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default_cache = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chatd-try-systemd"
    )
    parser.add_argument(
        "--cache", type=Path, default=default_cache, help="folder for the root (%(default)s)"
    )
    parser.add_argument("--suite", default="trixie", help="Debian suite, with systemd 253 or newer")
    parser.add_argument("--mirror", help="mirror of Debian (default: that of debootstrap)")
    arguments = parser.parse_args()
    missing = [tool for tool in ("systemd-nspawn", "debootstrap") if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        print(f"skipped: needs root{''.join(f' and {tool}' for tool in missing)}")
        return SKIPPED
    root = arguments.cache / arguments.suite
    if not (root / "made").exists():
        make_root(root, arguments.suite, arguments.mirror)
    install_chatd(root, arguments.cache / "wheels")
    with tempfile.TemporaryDirectory() as result:
        boot(root, Path(result))
        report = Path(result, "report")
        print(text := report.read_text() if report.exists() else "there is no report")
    return 0 if text.rstrip().endswith("all checks passed") else 1


def make_root(root: Path, suite: str, mirror: str | None) -> None:
    """Create the container's root with debootstrap."""
    print(f"making {root} ...", flush=True)
    shutil.rmtree(root, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    include = f"--include={','.join(PACKAGES)}"
    run("debootstrap", "--variant=minbase", include, suite, root, *([mirror] if mirror else []))
    run("chroot", root, "python3", "-m", "venv", "/opt/chatd")
    (root / "made").touch()


def install_chatd(root: Path, wheels: Path) -> None:
    """Install this working tree and its dependencies in the root. The host fetches them."""
    wheels.mkdir(parents=True, exist_ok=True)
    python = run(
        "chroot", root, "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"
    )
    fetch = (sys.executable, "-m", "pip", "--quiet", "download", "--dest", wheels)
    fetch = (*fetch, "--only-binary=:all:", "--python-version", python.strip())
    for old in wheels.glob("chatd-*.whl"):
        old.unlink()
    run(sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "-w", wheels, REPOSITORY)
    (wheel,) = wheels.glob("chatd-*.whl")
    needed = hashlib.sha256((REPOSITORY / "pyproject.toml").read_bytes()).hexdigest()
    stamp = wheels / "fetched"
    if not stamp.exists() or stamp.read_text() != needed:
        run(*fetch, wheel)
        stamp.write_text(needed)
    inside = root / "opt" / "wheels"
    shutil.rmtree(inside, ignore_errors=True)
    shutil.copytree(wheels, inside)
    pip = ("chroot", root, "/opt/chatd/bin/pip", "--quiet", "install", "--no-index")
    pip = (*pip, "--find-links", "/opt/wheels")
    run(*pip, "--force-reinstall", "--no-deps", "chatd")
    run(*pip, "chatd")  # new dependencies, where an older version was installed before


def boot(root: Path, result: Path) -> None:
    """Boot the container, which runs the checks and writes its report to ``result``."""
    units = root / "etc/systemd/system"
    (units / "try-chatd.service").write_text(UNIT)
    wants = units / "default.target.wants"
    wants.mkdir(exist_ok=True)
    (units / "default.target").unlink(missing_ok=True)
    (units / "default.target").symlink_to("/usr/lib/systemd/system/multi-user.target")
    (wants / "try-chatd.service").unlink(missing_ok=True)
    (wants / "try-chatd.service").symlink_to("../try-chatd.service")
    command = (
        *("systemd-nspawn", "--quiet", "--boot", f"--directory={root}", "--volatile=overlay"),
        *("--register=no", "--keep-unit", "--machine=try-chatd", "--private-network"),
        *(f"--bind-ro={REPOSITORY}:/tried", f"--bind={result}:/result"),
        "--console=read-only",
    )
    # The container has its own control groups of version 2, also where the host has version 1.
    environment = os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
    with Path(result, "console").open("w") as console:
        ended = subprocess.run(
            [*map(str, command)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            timeout=900,
            check=False,
        )
    if not Path(result, "report").exists():
        print(Path(result, "console").read_text())
        print(f"the container ended with {ended.returncode}")


def run(*command: object) -> str:
    done = subprocess.run(
        [*map(str, command)],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
