"""Chats that name a worker which has no task for them: when they are given back, and when not."""

from uuid import uuid4

from chatd.domain.chat import Status
from chatd.domain.outcomes import ReapReason
from chatd.store.leases import Renewal
from chatd.worker.unheld_chats import UnheldChats

CHAT = (uuid4(), 1)
CLAIM_SECONDS = 15.0


def named(*chats: tuple[object, int]) -> list[Renewal]:
    return [Renewal(chat_id, epoch, 1, Status.RUNNING) for chat_id, epoch in chats]  # type: ignore[arg-type]


def unheld() -> UnheldChats:
    return UnheldChats(claim_seconds=CLAIM_SECONDS)


def test_chat_whose_task_ended_is_given_back_once_a_later_renewal_names_it() -> None:
    chats = unheld()
    chats.add(CHAT, ReapReason.ABANDONED, now=10.0)
    chats.observe(named(CHAT), held=set(), sent_at=9.0)
    assert chats.to_give_back() == [], "the renewal may have read the chat before it was stored"
    chats.observe(named(CHAT), held=set(), sent_at=11.0)
    assert chats.to_give_back() == [(CHAT, ReapReason.ABANDONED)]


def test_chat_whose_end_was_stored_after_all_is_forgotten() -> None:
    chats = unheld()
    chats.add(CHAT, ReapReason.NO_TASK, now=10.0)
    chats.observe([], held=set(), sent_at=11.0)
    chats.observe(named(CHAT), held=set(), sent_at=12.0)
    assert chats.to_give_back() == [], "it is another claim, which may be on its way"


def test_unknown_claim_is_given_back_after_the_time_of_a_claim() -> None:
    chats = unheld()
    chats.observe(named(CHAT), held=set(), sent_at=10.0)
    chats.observe(named(CHAT), held=set(), sent_at=10.0 + CLAIM_SECONDS)
    assert chats.to_give_back() == []
    chats.observe(named(CHAT), held=set(), sent_at=10.1 + CLAIM_SECONDS)
    assert chats.to_give_back() == [(CHAT, ReapReason.NO_TASK)]
    chats.observe([], held=set(), sent_at=11.0 + CLAIM_SECONDS)
    assert chats.to_give_back() == [], "a reaper has done it"


def test_claim_that_arrives_is_not_given_back() -> None:
    chats = unheld()
    chats.observe(named(CHAT), held=set(), sent_at=10.0)
    chats.observe(named(CHAT), held={CHAT}, sent_at=20.0)
    chats.observe(named(CHAT), held={CHAT}, sent_at=40.0)
    assert chats.to_give_back() == []


def test_chats_that_have_a_task_are_not_given_back() -> None:
    chats = unheld()
    for sent_at in (10.0, 30.0, 50.0):
        chats.observe(named(CHAT), held={CHAT}, sent_at=sent_at)
    assert chats.to_give_back() == []
