"""journald: whether it reads a stream, and how it is told how serious a line is.

Sources: systemd.exec(5) on ``$JOURNAL_STREAM``, sd-daemon(3) on the prefixes.
"""

import os
from collections.abc import Mapping
from typing import TextIO

PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""syslog's number for each level."""


def is_journal_stream(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether ``publish_part`` is the one that the service manager connected to the journal."""
    try:
        found = os.fstat(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def with_priority(text: str, level: str) -> str:
    """Each line with its priority, which journald takes off again."""
    prefix = f"<{PRIORITIES.get(level, PRIORITIES['info'])}>"
    return prefix + text.replace("\n", f"\n{prefix}")
