"""``python -m benchmarks`` measures, prints JSON and leaves nothing behind, and it counts correctly."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from benchmarks.__main__ import app
from benchmarks.baseline_sql import BaselineStore
from benchmarks.figures import Figure, Section, Target, percentile
from benchmarks.measures import MEASURES
from benchmarks.pg_proxy import CountingProxy
from benchmarks.report import print_report
from chatd.store.database import Database

ROOT = Path(__file__).parents[2]
QUICK = ["round-trips", "wake", "claims", "heartbeats"]
DATABASES = "SELECT datname FROM pg_database WHERE datname LIKE 'chatd_bench_%'"


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "CHATD_CONFIG"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env=environment, cwd=ROOT
    )


@pytest.mark.slow
async def test_bench_runs_against_given_server(server: str, dsn: str) -> None:
    completed = bench("--quick", "--json", "--only", ",".join(QUICK), "--database", dsn)
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
    for move in ("chats.send", "turns.history", "turns.finish"):
        assert trips["detail"][move] == pytest.approx(1)
    assert figures["heartbeat_hot_percent"]["value"] >= 99
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


async def test_baseline_runs_turns_with_the_statements_of_today(dsn: str) -> None:
    store = await BaselineStore.open(dsn)
    try:
        for _ in range(2):
            await store.run_turn()
        ended = "SELECT count(*) FROM chat_events WHERE transition = 'finish_turn'"
        assert await store.pool.fetchval(ended) == 2
    finally:
        await store.pool.close()


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
    assert ", ".join(MEASURES) in app.help_epilogue
