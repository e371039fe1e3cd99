"""TypeScript client: types of the API, own tests, and streams over kills of the server."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.eventually import TIMEOUT_SECONDS
from support.node import node_process as under_node
from support.node import run
from support.processes import ChatdProcess, chatd_process
from support.server_kills import KILLS, SETUP, TEXT, KillSchedule

pytestmark = pytest.mark.slow  # all of them, so that one process builds the client


def test_generated_types_are_up_to_date(npm: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "openapi.ts"
    generate = json.loads((npm / "package.json").read_text())["scripts"]["generate"]
    tool, *arguments = generate.replace("src/openapi.ts", str(fresh)).split()
    run(f"node_modules/.bin/{tool}", *arguments)
    stale = (npm / "src" / "openapi.ts").read_text() != fresh.read_text()
    assert not stale, "clients/typescript is not of this API: npm run generate"


def test_node_tests_pass(built: Path) -> None:
    tests = [str(path) for path in sorted((built / "test").glob("*.test.js"))]
    assert len(tests) > 1
    run("node", "--test", *tests, folder=built)


def test_build_has_no_errors(npm: Path, tmp_path: Path) -> None:
    run("node_modules/.bin/tsc", "--outDir", str(tmp_path), folder=npm)
    assert (tmp_path / "index.d.ts").exists()


def test_lock_file_names_no_registry_and_no_dependency(npm: Path) -> None:
    lock = json.loads((npm / "package-lock.json").read_text())
    assert not [name for name, package in lock["packages"].items() if "resolved" in package]
    assert "dependencies" not in lock["packages"][""], "it is to have none"


async def test_kills_of_the_server(built: Path, tmp_path: Path, dsn: str) -> None:
    schedule = KillSchedule(seed=7)
    reports: list[dict[str, Any]] = []
    with ExitStack() as stack:

        def start(port: int) -> ChatdProcess:
            name = f"life-{schedule.kills}"
            return stack.enter_context(chatd_process(tmp_path, dsn, name=name, port=port, **SETUP))

        chatd = start(0)
        await chatd.wait_until_ready()
        port = chatd.port
        with anyio.fail_after(10 * TIMEOUT_SECONDS):
            async with under_node(str(built / "test" / "survive.js"), chatd.url) as process:
                assert process.stdout is not None
                async for line in process.stdout:
                    reports.append(json.loads(line))
                    event = reports[-1]
                    if schedule.is_due(event["event"], str(event.get("id"))):
                        chatd.kill()
                        chatd = start(port)
                assert await process.wait() == 0
    *events, end = reports
    assert schedule.kills == KILLS
    assert end["text"] == TEXT
    assert end["stored"] == ["go", TEXT]
    assert end["transitions"].count("reap") == KILLS
    assert (end["snapshots"], end["reconnects"] >= KILLS) == (1, True)
    assert all(TEXT.startswith(event["preview"]) for event in events)
    ids = [event["id"] for event in events]
    assert len(ids) == len(set(ids)) > KILLS
