"""Chats that name a worker which has no task for them: when they are given back, and when not."""

from uuid import uuid4

from chatd.domain.chat import Status
from chatd.domain.outcomes import ReapReason
from chatd.store.leases import Renewal
from chatd.worker.unheld_chats import UnheldChats

CHAT = (uuid4(), 1)


def named(*chats: tuple[object, int]) -> list[Renewal]:
    return [Renewal(chat_id, epoch, 1, Status.RUNNING) for chat_id, epoch in chats]  # type: ignore[arg-type]


def test_chat_whose_task_ended_is_given_back_once_a_later_renewal_names_it() -> None:
    chats = UnheldChats()
    chats.add(CHAT, ReapReason.ABANDONED, now=10.0)
    assert chats.observe(named(CHAT), held=set(), sent_at=9.0), "another renewal is due"
    assert chats.to_give_back() == [], "the renewal may have read the chat before it was stored"
    assert not chats.observe(named(CHAT), held=set(), sent_at=11.0)
    assert chats.to_give_back() == [(CHAT, ReapReason.ABANDONED)]


def test_chat_whose_end_was_stored_after_all_is_forgotten() -> None:
    chats = UnheldChats()
    chats.add(CHAT, ReapReason.NO_TASK, now=10.0)
    chats.observe([], held=set(), sent_at=11.0)
    chats.observe(named(CHAT), held=set(), sent_at=12.0)
    assert chats.to_give_back() == [], "it is another claim, which may be on its way"


def test_chat_that_no_claim_may_bring_is_given_back_at_the_next_renewal() -> None:
    chats = UnheldChats()
    assert chats.observe(named(CHAT), held=set(), sent_at=10.0), "another renewal is due"
    assert chats.to_give_back() == []
    chats.observe(named(CHAT), held=set(), sent_at=10.1)
    assert chats.to_give_back() == [(CHAT, ReapReason.NO_TASK)]
    chats.observe([], held=set(), sent_at=11.0)
    assert chats.to_give_back() == [], "a reaper has done it"


def test_chat_is_given_back_only_after_the_end_of_each_claim_that_may_bring_it() -> None:
    chats = UnheldChats()
    lost, other = chats.claim_sent(), chats.claim_sent()
    assert not chats.claim_ended(lost, now=9.0)
    assert not chats.observe(named(CHAT), held=set(), sent_at=10.0), "a renewal cannot tell yet"
    later = chats.claim_sent()
    chats.observe(named(CHAT), held=set(), sent_at=20.0)
    assert chats.to_give_back() == []
    assert chats.claim_ended(other, now=21.0), "now a renewal tells"
    chats.observe(named(CHAT), held=set(), sent_at=20.9)
    assert chats.to_give_back() == [], "it was sent before the claim ended"
    chats.observe(named(CHAT), held=set(), sent_at=21.1)
    assert chats.to_give_back() == [(CHAT, ReapReason.NO_TASK)], "a later claim cannot bring it"
    assert not chats.claim_ended(later, now=22.0)


def test_chat_waits_for_no_claim_of_another_chat() -> None:
    """A statement that waits for a connection, or for a row, may take twenty seconds."""
    chats = UnheldChats()
    lost, _ = chats.claim_sent(chat_id=CHAT[0]), chats.claim_sent(chat_id=uuid4())
    chats.claim_ended(lost, now=9.0)
    assert chats.observe(named(CHAT), held=set(), sent_at=10.0), "another renewal is due"
    chats.observe(named(CHAT), held=set(), sent_at=10.1)
    assert chats.to_give_back() == [(CHAT, ReapReason.NO_TASK)]


def test_chat_waits_for_a_second_claim_of_its_own() -> None:
    chats = UnheldChats()
    lost, second = chats.claim_sent(chat_id=CHAT[0]), chats.claim_sent(chat_id=CHAT[0])
    chats.claim_ended(lost, now=9.0)
    assert not chats.observe(named(CHAT), held=set(), sent_at=10.0), "a renewal cannot tell yet"
    assert chats.claim_ended(second, now=11.0)
    chats.observe(named(CHAT), held=set(), sent_at=11.1)
    assert chats.to_give_back() == [(CHAT, ReapReason.NO_TASK)]


def test_claim_that_arrives_is_not_given_back() -> None:
    chats = UnheldChats()
    claim = chats.claim_sent()
    chats.observe(named(CHAT), held=set(), sent_at=10.0)
    chats.claim_ended(claim, now=11.0)
    chats.observe(named(CHAT), held={CHAT}, sent_at=20.0)
    chats.observe(named(CHAT), held={CHAT}, sent_at=40.0)
    assert chats.to_give_back() == []


def test_chats_that_have_a_task_are_not_given_back() -> None:
    chats = UnheldChats()
    for sent_at in (10.0, 30.0, 50.0):
        assert not chats.observe(named(CHAT), held={CHAT}, sent_at=sent_at)
    assert chats.to_give_back() == []
