"""What is wrong with a configuration: all of it at once, never one thing per start."""

from collections.abc import Iterable
from dataclasses import dataclass

from chatd.domain.errors import ChatdError


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to put right. ``key`` is spelt as in its source, so that it can be searched for."""

    key: str
    reason: str
    source: str

    @property
    def text(self) -> str:
        where = f" ({self.source})" if self.source else ""
        return f"{self.key}: {self.reason}{where}"


class ConfigurationError(ChatdError):
    """The configuration is not usable."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problem.text for problem in self.problems))
