"""Command that compacts a chat."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from chatd.domain.chat import Chat, Usage
from chatd.domain.compaction import compaction_part
from chatd.domain.message import NewMessage, Role, Visibility
from chatd.domain.transitions import Transition
from chatd.store import sql
from chatd.store.worker_command import MESSAGES, NO_PARAMETER, WorkerCommand


@dataclass(frozen=True, slots=True, kw_only=True)
class Compact(WorkerCommand):
    """Command that stores ``summary``, which stands for the history up to ``covers_until``.

    With ``pruned_through`` instead, the model is shown no old results of tools up to there. With neither,
    there is nothing to compact. The numbers of tokens are for people, and ``usage`` is what the summary
    cost.
    """

    transition = Transition.COMPACT
    query = sql.load("turns")["compact"]

    covers_until: int | None = None
    summary: NewMessage | None = field(default=None, metadata=NO_PARAMETER)
    before_tokens: int = field(default=0, metadata=NO_PARAMETER)
    after_tokens: int = field(default=0, metadata=NO_PARAMETER)
    usage: Usage | None = field(default=None, metadata=NO_PARAMETER)
    pruned_through: int | None = None
    settled_part: int
    messages: Sequence[NewMessage] = field(init=False, metadata=MESSAGES)

    def __post_init__(self) -> None:
        messages: tuple[NewMessage, ...] = ()
        if self.summary is not None:
            notice = NewMessage(
                role=Role.ASSISTANT,
                content=(
                    compaction_part(
                        before_tokens=self.before_tokens, after_tokens=self.after_tokens
                    ),
                ),
                visibility=Visibility.USER,
                model_config_id=self.summary.model_config_id,
                usage=self.usage,
            )
            messages = (replace(self.summary, visibility=Visibility.MODEL), notice)
        object.__setattr__(self, "messages", messages)

    def is_applied(self, chat: Chat) -> bool:
        return chat.committed_steps > self.step
