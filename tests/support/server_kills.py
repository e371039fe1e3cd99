"""A server that is killed again and again in the middle of one answer, and the choice of the moments."""

import random

from support.trials import trials

KILLS = trials(5)
SENTENCE = "One word after the other the answer comes, slowly, so that one can cut it. "
TEXT = SENTENCE * 3
SETUP = {
    "settings": """
[worker]
reap_interval_seconds = 0.2
max_recoveries = 30    # each kill of an owner counts, and nothing is committed between them
""",
    "scripts": f"""
[models.fake]
provider = "fake"
model = "fake-1"
[providers.fake]
kind = "scripted"
[[providers.fake.script]]
text = "{SENTENCE}"
repeat = 3
chunks = 60
delay_seconds = 0.1
""",
}
"""Settings and scripts of the processes. A kill comes among the first ten of 60 chunks."""


class KillSchedule:
    """Choice of when to kill: each owner of the chat once, in its answer, until there were enough."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._killed: set[str] = set()

    @property
    def kills(self) -> int:
        return len(self._killed)

    def is_due(self, event: str, event_id: str) -> bool:
        """Return whether the event is one to kill its server at, and count the kill."""
        if event != "message_part" or self.kills == KILLS:
            return False
        _, epoch, part = event_id.split(".")
        if epoch in self._killed or int(part) < self._random.randint(1, 10):
            return False
        self._killed.add(epoch)
        return True
