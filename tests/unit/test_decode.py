"""Decoder of provider streams: the end of an answer, and errors of the SDK."""

import pytest

from chatd.domain.failure import FailureKind
from chatd.domain.files import read_no_files
from chatd.llm.errors import InvalidProviderResponse, ProviderConfigError, ProviderError
from chatd.llm.failures.classify import classify
from chatd.llm.provider import Finished
from chatd.llm.vendors.decode import EventDecoder, translate_provider_errors
from chatd.llm.vendors.wire.record import AnswerRecord
from chatd.llm.vendors.wire.uploads import Uploads

NO_UPLOADS = Uploads(read_no_files, on_bytes=lambda: None)


def answer(*words: object, responded: bool = True) -> AnswerRecord:
    record = AnswerRecord(on_bytes=lambda: None, uploads=NO_UPLOADS, responded=responded)
    for word in words:
        record.end(word)
    return record


@pytest.mark.parametrize("raw", ["failed", "error"], ids=["Responses API", "Chat Completions"])
def test_finish_reason_error_is_a_provider_error(raw: str) -> None:
    with pytest.raises(ProviderError) as caught:
        EventDecoder().finished(answer(raw))
    failure = classify(caught.value, provider="p", model="m")
    assert failure is not None
    assert failure.kind is FailureKind.PROVIDER_ERROR


def test_other_finish_reasons_end_the_response() -> None:
    end = EventDecoder().finished(answer("stop"))
    assert isinstance(end, Finished)
    assert end.reason == "stop"


def test_answer_without_an_end_is_not_finished() -> None:
    assert EventDecoder().finished(answer(None, "", "null", 5)) is None


def test_terminator_ends_an_answer_without_a_reason() -> None:
    record = answer()
    record.terminated = True
    end = EventDecoder().finished(record)
    assert end is not None
    assert end.reason == "stop"


def test_last_finish_reason_counts() -> None:
    end = EventDecoder().finished(answer("stop", None, "length", ""))
    assert end is not None
    assert end.reason == "length"


@pytest.mark.parametrize("error", [KeyError("x"), RecursionError(), ZeroDivisionError()], ids=repr)
def test_any_exception_behind_the_wall_is_a_failure(error: Exception) -> None:
    with pytest.raises(InvalidProviderResponse) as caught, translate_provider_errors(answer()):
        raise error
    failure = classify(caught.value, provider="p", model="m")
    assert failure is not None
    assert failure.retryable
    assert failure.message == "p sent an answer of model m that could not be read."


def test_exception_before_a_response_is_a_bug() -> None:
    with pytest.raises(KeyError), translate_provider_errors(answer(responded=False)):
        raise KeyError("x")


def test_classified_exception_passes_the_wall() -> None:
    with pytest.raises(ProviderConfigError), translate_provider_errors(answer()):
        raise ProviderConfigError("base_url", "wrong")
