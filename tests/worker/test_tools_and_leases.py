"""Tools of a worker whose lease ends before they start: after a pause of the process, say."""

import pytest
from support.client_tools import calling_provider, results_of_all_calls
from support.in_process import NO_RENEWALS, InProcessDaemon, running_daemon
from support.providers import tool_call_delta
from support.tool_endpoint import tool_endpoint, tools

from chatd.domain.tool_call_errors import OUTCOME_UNKNOWN
from chatd.store.commands import CloseCalls, CommitStep
from chatd.store.records import TransitionResult
from chatd.store.turns import FencingToken
from chatd.store.worker_command import WorkerCommand


def end_leases_after(chatd: InProcessDaemon, command_type: type[WorkerCommand]) -> None:
    """Have the leases of the worker end once, right after such a statement was committed."""
    turns = chatd.daemon.services.store.turns
    apply = turns.apply

    async def apply_and_end(fence: FencingToken, command: WorkerCommand) -> TransitionResult:
        result = await apply(fence, command)
        if isinstance(command, command_type):
            turns.apply = apply  # type: ignore[method-assign]
            for lease in chatd.daemon.chat_tasks.leases:
                lease.renewed_at -= 3600
        return result

    turns.apply = apply_and_end  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("parallel", "command_type", "expected", "runs"),
    [
        (3, CommitStep, [OUTCOME_UNKNOWN, OUTCOME_UNKNOWN, "done /look"], ["/look"]),
        (1, CloseCalls, ["done /pay", OUTCOME_UNKNOWN, "done /look"], ["/look", "/pay"]),
    ],
    ids=["with the answer", "with results of others"],
)
async def test_call_does_not_start_when_its_lease_is_over(
    dsn: str,
    parallel: int,
    command_type: type[WorkerCommand],
    expected: list[str],
    runs: list[str],
) -> None:
    """A call was stored as started, and its worker's lease is over before it starts."""
    calls = [
        tool_call_delta(name, f"c{n}", index=n) for n, name in enumerate(("pay", "pay", "look"))
    ]
    async with (
        tool_endpoint() as endpoint,
        running_daemon(
            dsn,
            calling_provider(calls),
            **tools(endpoint, tools={"parallel": parallel}, worker=NO_RENEWALS),
        ) as chatd,
    ):
        end_leases_after(chatd, command_type)
        chat = await chatd.api.create("go")
        await chatd.api.wait_for_status(chat["id"], "waiting")
        assert await results_of_all_calls(chatd, chat["id"]) == expected
        assert sorted(request.target for request in endpoint.requests) == runs
        assert len(endpoint.keys()) == len(set(endpoint.keys())), "no call ran twice"
        assert len(await chatd.journal(chat["id"], "claim")) == 2
