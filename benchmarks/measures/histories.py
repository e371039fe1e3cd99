"""Turns of chats with long histories, one after another in the same chat.

A message has 2.5 kB. A history that grows is read, kept and sent to a provider, so a long one must not cost
each turn again. The baseline is the other installation, if there is one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.context import BenchContext
from benchmarks.figures import Figure, Target, percentile
from benchmarks.sides import Side, chatd_sides

_LONG_QUESTION = "[[long]]" + "word " * 500


@dataclass(slots=True)
class _Costs:
    first_part_seconds: list[float] = field(default_factory=list)
    process_cpu: list[float] = field(default_factory=list)
    backend_cpu: list[float] = field(default_factory=list)

    @property
    def cpu(self) -> float:
        """Return the processor seconds of the process per turn."""
        return percentile(self.process_cpu, 50)

    @property
    def backends(self) -> float:
        """Return those of the backends."""
        return percentile(self.backend_cpu, 50)


async def measure(context: BenchContext) -> Sequence[Figure]:
    async with chatd_sides(context, "histories") as sides:
        costs = {
            length: [await _costs(context, side, length) for side in sides]
            for length in context.profile.history_lengths
        }
    figures = [_figures(length, each, costs[0][0]) for length, each in costs.items()]
    return [figure for kind in zip(*figures, strict=True) for figure in kind]


async def _costs(context: BenchContext, side: Side, length: int) -> _Costs:
    context.report_progress(f"a chat of {length} messages")
    do, url, costs = context.clients.run_task, side.process.url, _Costs()
    chat = await do("make_chat", url=url, messages=length, question=_LONG_QUESTION)
    for _ in range(context.profile.rounds):
        before = await side.cpu_seconds(context)
        turns = context.profile.history_turns
        result = await do("counted_turns", url=url, chat=chat["chat"], turns=turns)
        after = await side.cpu_seconds(context)
        costs.first_part_seconds += result["first"]
        costs.process_cpu.append((after[0] - before[0]) / (turns + 1))
        costs.backend_cpu.append((after[1] - before[1]) / (turns + 1))
    return costs


def _figures(length: int, costs: list[_Costs], shortest: _Costs) -> list[Figure]:
    other = costs[1] if len(costs) > 1 else None
    first = percentile(costs[0].first_part_seconds, 50) * 1000
    empty = percentile(shortest.first_part_seconds, 50) * 1000
    return [
        Figure(
            name=f"history_{length}_first_part_ms",
            title=f"first part, {length} messages",
            value=first,
            unit="ms",
            baseline=empty if other is None else percentile(other.first_part_seconds, 50) * 1000,
            description="one turn after another (p50); baseline: "
            + ("an empty chat" if other is None else "the other installation"),
            target=Target("≤", 1.2, applies_to="ratio") if length and other is None else None,
        ),
        *(
            Figure(
                name=f"history_{length}_{name}_ms",
                title=f"{title}, {length} messages",
                value=value * 1000,
                unit="ms/turn",
                baseline=baseline[0] * 1000 if baseline else None,
                description="processor time per turn",
            )
            for name, title, (value, *baseline) in (
                ("cpu", "chatd", [each.cpu for each in costs]),
                ("backend_cpu", "backends", [each.backends for each in costs]),
            )
        ),
    ]
