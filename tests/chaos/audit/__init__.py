"""The rules that every run keeps, whatever faults it had. Each returns its violations, with their evidence.

Evidence names chats, messages and requests, and has excerpts of journals and logs. The only texts in it are
those that the run itself made.
"""

import json
from collections.abc import Iterable

from chaos.audit import (
    approvals,
    chats,
    compactions,
    families,
    forks,
    messages,
    processes,
    subscribers,
    tool_results,
    tool_times,
    tools,
    workers,
)
from chaos.audit.rules import RULES, Violation
from chaos.evidence import Evidence

__all__ = [
    "RULES",
    "Violation",
    "approvals",
    "audit",
    "chats",
    "compactions",
    "families",
    "forks",
    "listed",
    "messages",
    "processes",
    "subscribers",
    "tool_results",
    "tool_times",
    "tools",
    "workers",
]


def audit(evidence: Evidence) -> list[Violation]:
    """Return every violation of every rule."""
    return [Violation(each.__name__, found) for each in RULES for found in each(evidence)]


def listed(violations: Iterable[Violation]) -> str:
    """Return violations as text, each with its evidence."""
    return "\n".join(
        json.dumps({"violation": each.rule, **each.evidence}, indent=1, default=str)
        for each in violations
    )
