"""Rules of agents: each is started by its call, says what its parent reads, and stops with its family."""

import json
from datetime import timedelta
from typing import Any

from chaos.audit.rules import Findings, excerpt, rule
from chaos.audit.tools import call_described, rows_by_key
from chaos.evidence import FINAL_STATUSES, Evidence, Row, text_of
from chatd.domain.tool_choice import SPAWN_AGENT, WAIT_AGENT

_STOP_SECONDS = timedelta(seconds=1)
"""Time within which the entries of one statement about a family are dated."""


@rule
def agents_are_those_of_their_calls(evidence: Evidence) -> Findings:
    """Find agents that no call started, that another chat started, or whose parent is gone."""
    rows, agents = rows_by_key(evidence), evidence.of_agents()
    for chat_id, parent in agents.items():
        row = rows.get(chat_id)
        if row is None or row["tool_name"] != SPAWN_AGENT or row["chat_id"] != parent:
            yield {
                "agent": chat_id,
                "parent": parent,
                "parent_is_there": parent in evidence.chats,
                "call": None if row is None else call_described(row),
            }


@rule
def agents_have_their_task(evidence: Evidence) -> Findings:
    """Find agents whose first message is not the prompt of their call."""
    rows = rows_by_key(evidence)
    prompts = {
        (chat_id, part["tool_call_id"]): json.loads(part["args"]).get("prompt")
        for chat_id, messages in evidence.messages.items()
        for message in messages
        for part in message["content"]
        if part["type"] == "tool-call" and part["tool_name"] == SPAWN_AGENT
    }
    for chat_id in evidence.of_agents():
        row, messages = rows.get(chat_id), evidence.messages.get(chat_id, [])
        first = next((text_of(each["content"]) for each in messages if each["role"] == "user"), "")
        if row is not None and prompts.get((row["chat_id"], row["tool_call_id"])) != first:
            yield {"agent": chat_id, "first": first, "call": call_described(row)}


@rule
def answers_of_agents_are_what_they_said(evidence: Evidence) -> Findings:
    """Find results of waiting with an answer that the agent did not give."""
    for rows in evidence.tool_calls.values():
        for row in rows:
            if row["tool_name"] == WAIT_AGENT and row["answer"] and not row["is_error"]:
                for agent in _told(row["answer"]["result"]):
                    if "answer" in agent and not _said(evidence, agent):
                        yield call_described(row, agent=agent)


def _told(result: Any) -> list[dict[str, Any]]:
    """Return what a result of waiting tells of each agent. It is JSON, or the text of one."""
    read = json.loads(result) if isinstance(result, str) else result
    return list(read["agents"])


def _said(evidence: Evidence, agent: dict[str, Any]) -> bool:
    """Return whether an agent said what it is told to have said. One that was deleted may have."""
    messages = evidence.said().get(agent["id"])
    return messages is None or any(
        text_of(message["content"]) == agent["answer"]
        for message in messages
        if message["role"] == "assistant"
    )


def _below(agents: dict[str, str], chat_id: str) -> set[str]:
    """Return the agents of a chat, and theirs."""
    own = {agent for agent, parent in agents.items() if parent == chat_id}
    return own.union(*(_below(agents, agent) for agent in own))


def _went_on(journal: list[Row], stop: Row) -> bool:
    """Return whether a chat was active before the stop of its family, and long after, without a stop."""
    begin, end = stop["created_at"] - _STOP_SECONDS, stop["created_at"] + _STOP_SECONDS
    before = [row for row in journal if row["created_at"] < begin]
    meanwhile = [row for row in journal if begin <= row["created_at"] <= end]
    return (
        bool(before)
        and before[-1]["status"] not in {*FINAL_STATUSES, "interrupting"}
        and not any(row["transition"] == "interrupt" for row in meanwhile)
        and not any(row["status"] in FINAL_STATUSES for row in meanwhile)
    )


@rule
def families_stop_together(evidence: Evidence) -> Findings:
    """Find agents that went on although the chat that they work for was interrupted."""
    agents = evidence.of_agents()
    for chat_id in set(agents.values()):
        below = _below(agents, chat_id)
        for row in evidence.journal.get(chat_id, ()):
            if row["transition"] == "interrupt":
                for agent in below:
                    if _went_on(evidence.journal.get(agent, []), row):
                        yield {
                            "chat": chat_id,
                            "version": row["version"],
                            "agent": agent,
                            "journal": excerpt(evidence, agent),
                        }
