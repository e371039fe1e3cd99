"""A chat of the model after the transitions of the table."""

from model.protocol import MAX_RECOVERIES, Chat, Message

from chatd.domain.chat import IDLE, LEASED, Status
from chatd.domain.transitions import Transition, target_status


def target(transition: Transition, chat: Chat, **options: object) -> Status | None:
    """Return where the table leads; None if it refuses the transition."""
    return target_status(transition, chat.status, has_queue=chat.has_queue, **options)


def first(chat: Chat, kind: Message) -> int | None:
    """Return the number of the first message of this kind."""
    return next((n for n, message in enumerate(chat.messages) if message is kind), None)


def marked(chat: Chat, number: int, kind: Message) -> Chat:
    """Return the chat with another kind of one message."""
    messages = chat.messages
    return chat._replace(messages=(*messages[:number], kind, *messages[number + 1 :]))


def moved(chat: Chat, status: Status | None) -> Chat:
    """Return the chat in ``status``, which the table has allowed."""
    assert status is not None
    return chat._replace(
        status=status,
        holder=chat.holder if status in LEASED else None,
        recoveries=0 if status in IDLE else chat.recoveries,
    )


def ended(chat: Chat, kept: Message) -> Chat:
    """Mark the messages that were being answered, and promote the head of the queue."""
    messages = tuple(kept if m is Message.UNANSWERED else m for m in chat.messages)
    chat = chat._replace(messages=messages)
    head = first(chat, Message.QUEUED)
    return chat if head is None else marked(chat, head, Message.UNANSWERED)


def after_end(transition: Transition, chat: Chat, kept: Message, *, holder: int | None) -> Chat:
    """Return the chat after a transition that ends a turn. A chat that goes on is kept by ``holder``."""
    status = target(transition, chat)
    if status in LEASED and holder is None:
        status = Status.PENDING
    return moved(ended(chat, kept), status)._replace(recoveries=0)


def applied(transition: Transition, chat: Chat, me: int) -> Chat:
    """Return the chat after a transition of its worker."""
    match transition:
        case Transition.FINISH_TURN:
            return after_end(transition, chat, Message.ANSWERED, holder=me)
        case Transition.FINISH_INTERRUPT:
            return after_end(transition, chat, Message.STOPPED, holder=me)
        case Transition.PARK:
            return moved(chat, target(transition, chat))._replace(recoveries=0)
        case _:
            return moved(chat, target(transition, chat))


def reaped(chat: Chat, *, by_its_worker: bool = False) -> Chat:
    """Return the chat after a reap. It counts as a recovery unless its own worker gives it up."""
    if chat.status is Status.INTERRUPTING:
        return after_end(Transition.REAP_INTERRUPT, chat, Message.STOPPED, holder=None)
    recoveries = chat.recoveries + (not by_its_worker)
    exhausted = recoveries > MAX_RECOVERIES
    status = target(Transition.REAP, chat, exhausted=exhausted)
    return moved(chat, status)._replace(recoveries=0 if exhausted else recoveries)
