"""Rules of the time of tools: that they end with their turn, and in their time."""

from chaos.audit.rules import Findings, excerpt, rule
from chaos.audit.tools import call_described, effects_of_calls
from chaos.evidence import Evidence, Row
from chaos.offered_tools import MCP_HTTP, server_of
from chaos.plan import Kind
from chaos.records import Effect
from chaos.tools import TIMEOUT_SECONDS

_SLACK_SECONDS = 1.5
"""Time that a process may take, on a busy machine, to close a connection of a call that is over."""
_STOPS_TOOLS = frozenset({"finish_interrupt", "fail", "release", "finish_turn", "require_action"})
"""Transitions before which a worker has stopped the tools of its turn, or awaited them."""


def _let_go(effect: Effect) -> float:
    """Return when the caller had what it asked for, or wanted it no more, as far as the kernel knows."""
    return effect.closed or effect.ended or effect.sent or effect.began


def _caller_was_stopped(evidence: Evidence, effect: Effect, until: float) -> bool:
    """Return whether the replica that made the call was stopped when it should have ended."""
    for life in evidence.lives:
        if life.replica == effect.replica:
            goes = [at for at, name in life.signals if name == "SIGCONT"]
            for began in (at for at, name in life.signals if name == "SIGSTOP"):
                ended = min((at for at in goes if at > began), default=until)
                if began <= until and _let_go(effect) <= ended + _SLACK_SECONDS:
                    return True
    return False


def _server_was_stopped(evidence: Evidence, effect: Effect, until: float) -> bool:
    """Return whether the server of MCP was stopped when it should have been told of the end of a call.

    A client of MCP sends one notification after the other, each once the server has answered the last.
    """
    return server_of(effect.tool) == MCP_HTTP and any(
        fault.fault.kind is Kind.TOOLS_STOPPED
        and fault.at <= until
        and _let_go(effect) <= fault.at + fault.fault.seconds + _SLACK_SECONDS
        for fault in evidence.faults
    )


def _could_not_let_go(evidence: Evidence, effect: Effect, until: float) -> bool:
    return _caller_was_stopped(evidence, effect, until) or _server_was_stopped(
        evidence, effect, until
    )


@rule
def nothing_runs_after_a_stop(evidence: Evidence) -> Findings:
    """Find calls that were sent, or not let go, after the worker had stored the end of their turn."""
    replicas = {life.worker_id: life.replica for life in evidence.lives}
    ends: dict[str, list[Row]] = {
        chat_id: [row for row in rows if row["transition"] in _STOPS_TOOLS]
        for chat_id, rows in evidence.journal.items()
    }
    for call, effect in effects_of_calls(evidence):
        chat_id = call["chat_id"]
        for row in ends[chat_id]:
            until = row["created_at"].timestamp() + _SLACK_SECONDS
            if (
                effect.sent is not None
                and row["epoch"] >= call["epoch"]
                and replicas.get(row["worker_id"]) == effect.replica
                and call["completed_at"] is not None
                and call["started_at"] < row["created_at"]
                and (
                    effect.sent > until
                    or (_let_go(effect) > until and not _could_not_let_go(evidence, effect, until))
                )
            ):
                yield call_described(call, effect=effect, journal=excerpt(evidence, chat_id))
                break


@rule
def tools_end_in_time(evidence: Evidence) -> Findings:
    """Find calls that were not let go when their time was over."""
    for effect in (each for each in evidence.effects if each.sent is not None):
        until = effect.sent + TIMEOUT_SECONDS + _SLACK_SECONDS
        if _let_go(effect) > until and not _could_not_let_go(evidence, effect, until):
            yield {"effect": effect, "seconds": _let_go(effect) - effect.sent}
