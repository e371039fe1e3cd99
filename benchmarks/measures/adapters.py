"""Cost of a turn through an adapter, beside a native one.

Both make a POST and have a stream for each turn, and a new chat for each tenth. Only a request of Chat
Completions keeps no chat: it has a new one for each turn, which is deleted behind it, so it has no target.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from benchmarks.context import BenchContext
from benchmarks.figures import Figure, Target, percentile
from benchmarks.sides import LevelResult, Side, chatd_sides

_CHATS: Final = 16
_MAX_RATIO: Final = 1.5
_SETTINGS: Final = '[adapters]\nenabled = ["ai_sdk", "completions"]\n'
_TURNS: Final = {"short": "Which way to the station?", "long": "[[parts]]"}
"""Turns of 20 parts at once, and of 300 with a pause before each."""
_CLIENTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "native": {"reopens": True},
    "ai_sdk": {"dialect": "ai_sdk"},
    "completions": {"dialect": "completions"},
}


async def measure(context: BenchContext) -> Sequence[Figure]:
    async with chatd_sides(context, "adapters", settings=_SETTINGS) as (side, *_):
        costs = await _costs(context, side)
    return [
        _figure(client, turn, costs) for turn in _TURNS for client in _CLIENTS if client != "native"
    ]


async def _costs(context: BenchContext, side: Side) -> Mapping[tuple[str, str], LevelResult]:
    """Run rounds of all clients in turn, so that other load affects all of them."""
    results = {(client, turn): LevelResult() for turn in _TURNS for client in _CLIENTS}
    for number in range(context.profile.rounds + 1):
        for (client, turn), into in results.items():
            context.report_progress(f"{turn} turns, {client}, round {number}")
            await side.run_turns(
                context,
                chats=_CHATS,
                seconds=context.profile.round_seconds,
                into=into if number else LevelResult(),  # the first round warms up
                question=_TURNS[turn],
                **_CLIENTS[client],
            )
    return results


def _figure(client: str, turn: str, costs: Mapping[tuple[str, str], LevelResult]) -> Figure:
    adapter, native = costs[client, turn], costs["native", turn]
    return Figure(
        name=f"adapter_cpu_ms_{client}_{turn}",
        title=f"processor time, {client}, {turn} turn",
        value=percentile(adapter.process_cpu, 50) * 1000,
        unit="ms/turn",
        baseline=percentile(native.process_cpu, 50) * 1000,
        description=f"of the process, {_CHATS} in flight; baseline: a message and a stream of the API",
        target=Target("≤", _MAX_RATIO, applies_to="ratio") if client == "ai_sdk" else None,
        detail={
            "backends": percentile(adapter.backend_cpu, 50) * 1000,
            "backends, native": percentile(native.backend_cpu, 50) * 1000,
            "first part ms": percentile(adapter.first_part_seconds, 50) * 1000,
        },
    )
