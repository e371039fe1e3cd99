"""Base of the commands: the parameters of a query by the fields of a value."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, ClassVar, Final

from chatd.domain.chat import Chat
from chatd.domain.files import File
from chatd.domain.transitions import Transition
from chatd.store.files import file_parameters
from chatd.store.records import message_rows
from chatd.store.sql import Query

NO_PARAMETER: Final = {"is_parameter": False}
MESSAGES: Final = {"encode": message_rows}


def _unchanged(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerCommand(ABC):
    """Base of the commands. ``step`` is the number of steps that the chat had when it was made."""

    transition: ClassVar[Transition]
    query: ClassVar[Query]
    constants: ClassVar[Mapping[str, object]] = {}
    """Parameters that are the same for every command of this class."""
    ends_lease: ClassVar[bool] = False
    """Another chat of the owner may run then, up to ``limits``, which is a parameter of the query."""
    stores_files: ClassVar[bool] = False
    closes_all_calls: ClassVar[bool] = False
    """No tool call of the chat is open then."""

    step: int

    @property
    def files(self) -> Iterable[File]:
        """The files that are stored, if ``stores_files``."""
        return ()

    def parameters(self) -> dict[str, object]:
        """Return the parameters of the query by name, but for those of the fencing token."""
        values = encoders(type(self))
        return {
            **self.constants,
            **{name: encode(getattr(self, name)) for name, encode in values.items()},
            **(file_parameters(self.files) if self.stores_files else {}),
        }

    @property
    def ends_with_others(self) -> bool:
        """True if a cheaper query that ends several turns at once may end this one."""
        return False

    @abstractmethod
    def is_applied(self, chat: Chat) -> bool:
        """Return whether ``chat``, which the worker still holds, shows that the command was applied.

        A worker asks this when no row matched its fencing token: the statement may have been committed
        by an earlier try whose response was lost.
        """


@cache
def encoders(command: type[WorkerCommand]) -> Mapping[str, Callable[[Any], object]]:
    """Return the fields that are parameters of the query, each with the function that encodes its value."""
    return {
        each.name: each.metadata.get("encode", _unchanged)
        for each in fields(command)
        if each.metadata.get("is_parameter", True)
    }
