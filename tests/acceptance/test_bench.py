"""``python -m benchmarks`` measures, prints JSON and leaves nothing behind, and it counts correctly."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from benchmarks.__main__ import app
from benchmarks.baseline_sql import BaselineStore
from benchmarks.cpu import cpu_seconds
from benchmarks.figures import Figure, Section, Target, percentile
from benchmarks.measures import MEASURES
from benchmarks.pg_proxy import CountingProxy
from benchmarks.report import print_report
from chatd.store.database import Database

ROOT = Path(__file__).parents[2]
QUICK = ["round-trips", "wake", "histories", "claims", "heartbeats"]
DATABASES = "SELECT datname FROM pg_database WHERE datname LIKE 'chatd_bench_%'"


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "CHATD_CONFIG"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env=environment, cwd=ROOT
    )


@pytest.mark.slow
async def test_bench_runs_against_given_server(server: str, dsn: str) -> None:
    names, same = ",".join(QUICK), sys.executable
    completed = bench("--quick", "--json", "--only", names, "--database", dsn, "--compare", same)
    assert completed.returncode == 0, completed.stderr
    said = json.loads(completed.stdout)
    assert [measure["name"] for measure in said["measures"]] == QUICK
    assert "PostgreSQL" in said["server"]
    figures: dict[str, dict[str, Any]] = {
        figure["name"]: figure for measure in said["measures"] for figure in measure["figures"]
    }
    assert all(figure["value"] > 0 and figure["description"] for figure in figures.values())
    trips = figures["round_trips_per_turn"]
    assert trips["target_met"], trips
    assert trips["value"] <= 6
    sent = trips["detail"].get("chats.send", 0) + trips["detail"]["claims.send_and_claim"]
    assert sent == pytest.approx(trips["detail"]["turns.finish_turn"]) == pytest.approx(1)
    assert figures["heartbeat_hot_percent"]["value"] >= 99
    assert figures["history_40_first_part_ms"]["baseline"] > 0, "of the other installation"
    assert figures["history_40_backend_cpu_ms"]["baseline"] > 0
    assert figures["wake_ms_p50"]["value"] <= figures["wake_ms_p99"]["value"]
    admin = await asyncpg.connect(server)
    assert await admin.fetch(DATABASES) == []
    await admin.close()


def test_unknown_measure_is_rejected_with_known_names() -> None:
    completed = bench("--only", "speed")
    assert completed.returncode == 1
    assert completed.stdout == ""
    assert completed.stderr.startswith("benchmarks: No measure speed; there are: start, ")


async def test_proxy_counts_statements(dsn: str, tmp_path: Path) -> None:
    async with CountingProxy(dsn, tmp_path) as wire:
        connection = await asyncpg.connect(wire.dsn)
        assert wire.round_trips.counts() == {"(connect)": 1}
        wire.reset()
        ask = "-- test.ask\nSELECT $1::integer"
        assert [await connection.fetchval(ask, number) for number in range(5)] == [0, 1, 2, 3, 4]
        async with connection.transaction():
            await connection.execute("-- test.do\nSELECT 1")
        assert wire.statements.counts() == {"test.ask": 5, "BEGIN;": 1, "test.do": 1, "COMMIT;": 1}
        prepared = Counter({"test.ask (prepare)": 1})
        assert wire.round_trips.counts() == wire.statements.counts() + prepared
        await connection.close()


async def test_pool_adds_no_round_trip(dsn: str, tmp_path: Path) -> None:
    async with CountingProxy(dsn, tmp_path) as wire:
        database = Database(wire.dsn, pool_size=1)
        await database.open()
        await database.fetch("-- test.ask\nSELECT 1")
        wire.reset()
        for _ in range(10):
            await database.fetch("-- test.ask\nSELECT 1")
        assert wire.round_trips.counts() == {"test.ask": 10}
        await database.close()


async def test_floor_answers_a_message_per_turn(dsn: str) -> None:
    store = await BaselineStore.open(dsn, reset=False)
    messages = (
        "SELECT count(*) FILTER (WHERE role = 'assistant'), count(*) FROM floor.chat_messages"
    )
    try:
        before = await store.pool.fetchrow(messages)
        for _ in range(2):
            await store.run_turn()
        after = await store.pool.fetchrow(messages)
    finally:
        await store.pool.close()
    assert [now - then for now, then in zip(after, before, strict=True)] == [2, 4]


def test_installation_that_is_not_there_is_refused() -> None:
    completed = bench("--only", "parts", "--compare", "/nowhere/python")
    assert (completed.returncode, completed.stdout) == (1, "")
    assert completed.stderr == "benchmarks: There is no Python at /nowhere/python.\n"


def test_processor_time_counts_that_of_a_process() -> None:
    before = cpu_seconds([os.getpid()])
    ends = time.process_time() + 0.05
    while time.process_time() < ends:
        pass
    assert 0.04 < cpu_seconds([os.getpid()]) - before < 1
    assert cpu_seconds([2**22 + 1]) == 0, "one that has ended"


def test_figure_targets(capsys: pytest.CaptureFixture[str]) -> None:
    fast = Figure(
        name="rate", title="turns", value=60, unit="/s", description="so many", baseline=100,
        target=Target("≥", 0.5, applies_to="ratio"),
    )  # fmt: skip
    slow = Figure(
        name="idle", title="idle", value=3, unit="/s", description="polls", target=Target("<", 3)
    )
    assert (fast.target_met, fast.ratio, slow.target_met, slow.ratio) == (True, 0.6, False, None)
    assert percentile(range(1, 101), 50) == 51
    assert percentile([7.0], 99) == 7
    sections = [
        Section(name="turns", title="Turns", seconds=1, figures=[fast, slow]),
        Section(name="wake", title="Waking", seconds=1, error="it slept"),
    ]
    head = {"chatd": "1", "python": "3", "server": "PostgreSQL", "cores": 2, "load_before": 0.1,
            "load_after": 0.2, "quick": True, "seconds": 2.0}  # fmt: skip
    print_report(head, sections)
    out = capsys.readouterr().out
    assert "60 /s" in out
    assert "≥ 0.5 of baseline ✓" in out
    assert "< 3 ✗" in out
    assert "could not be measured: it slept" in out


def test_the_help_names_every_measure() -> None:
    assert app.help_epilogue is not None
    assert ", ".join(MEASURES) in " ".join(app.help_epilogue.split())
