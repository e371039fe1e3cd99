"""The rules of the audit, and what their violations are made of."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from chaos.evidence import Evidence
from chaos.records import Request

_EXCERPT_ROWS = 40


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that must not be, and what shows it."""

    rule: str
    evidence: dict[str, Any]


Findings = Iterator[dict[str, Any]]
Rule = Callable[[Evidence], Findings]
RULES: list[Rule] = []


def rule(function: Rule) -> Rule:
    """Add a rule to the audit."""
    RULES.append(function)
    return function


def excerpt(evidence: Evidence, chat_id: str) -> list[str]:
    """Return the last entries of a chat's journal, one line each."""
    return [
        f"{row['version']} {row['transition']} {row['status']} epoch={row['epoch']}"
        f" worker={str(row['worker_id'])[:8]} {row['created_at']:%H:%M:%S.%f} {row['data']}"
        for row in evidence.journal.get(chat_id, [])[-_EXCERPT_ROWS:]
    ]


def described(request: Request) -> dict[str, Any]:
    """Return what names a request in the evidence."""
    return {
        "request": request.number,
        "operation": request.operation,
        "chat": request.chat_id,
        "key": request.key,
        "status": request.status,
        "code": request.code,
        "lost_attempts": request.lost_attempts,
    }
