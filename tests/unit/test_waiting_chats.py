"""Waiting chats: the bound of what waits for a slot, around claims."""

from math import inf

import pytest

from chatd.worker.waiting_chats import WaitingChats


def after_claim() -> WaitingChats:
    waiting = WaitingChats()
    with waiting.claiming():
        pass
    return waiting


def test_nothing_is_known_before_the_first_claim() -> None:
    waiting = WaitingChats()
    assert (waiting.at_most, waiting.expected) == (inf, True)
    with waiting.claiming():
        assert (waiting.at_most, waiting.expected) == (inf, False)
    assert (waiting.at_most, waiting.expected) == (0, False)


def test_announced_chats_wait_until_the_end_of_a_claim_that_is_sent_later() -> None:
    waiting = after_claim()
    waiting.announce()
    waiting.announce()
    assert waiting.at_most == 2
    with waiting.claiming():
        assert (waiting.at_most, waiting.expected) == (2, False)
        waiting.announce()
        assert (waiting.at_most, waiting.expected) == (3, True)
    assert (waiting.at_most, waiting.expected) == (1, True)


def test_what_is_forgotten_during_a_claim_is_unknown_after_it() -> None:
    waiting = after_claim()
    with waiting.claiming():
        waiting.forget()
    assert waiting.at_most == inf
    waiting.announce()
    assert waiting.at_most == inf


def test_nothing_is_known_after_a_claim_that_failed() -> None:
    waiting = after_claim()
    with pytest.raises(ZeroDivisionError), waiting.claiming():
        raise ZeroDivisionError
    assert (waiting.at_most, waiting.expected) == (inf, True)
