"""Decoder of provider streams: what follows the last event."""

from typing import Any, cast

import pytest
from pydantic_ai.models import StreamedResponse
from pydantic_ai.usage import RequestUsage

from chatd.domain.failure import FailureKind
from chatd.llm.errors import ProviderError
from chatd.llm.failures.classify import classify
from chatd.llm.provider import Finished
from chatd.llm.vendors.decode import EventDecoder


class EndedResponse:
    """The parts of a ``StreamedResponse`` that are read after its last event."""

    usage = RequestUsage(input_tokens=1, output_tokens=1)

    def __init__(self, finish_reason: str, raw: str) -> None:
        self.finish_reason = finish_reason
        self.provider_details: dict[str, Any] = {"finish_reason": raw}


def finish(finish_reason: str, raw: str) -> list[object]:
    return list(EventDecoder().finish(cast("StreamedResponse", EndedResponse(finish_reason, raw))))


@pytest.mark.parametrize("raw", ["failed", "error"], ids=["Responses API", "Chat Completions"])
def test_finish_reason_error_is_a_provider_error(raw: str) -> None:
    with pytest.raises(ProviderError) as caught:
        finish("error", raw)
    failure = classify(caught.value, provider="p", model="m")
    assert failure is not None
    assert failure.kind is FailureKind.PROVIDER_ERROR


def test_other_finish_reasons_end_the_response() -> None:
    [end] = finish("stop", "stop")
    assert isinstance(end, Finished)
    assert end.reason == "stop"
