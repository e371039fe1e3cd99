"""Messages of exceptions in the log: withheld if they may quote the content of a chat."""

import pytest

from chatd.domain.errors import Refused, ToolCallUnknown
from chatd.llm.errors import ProviderError
from chatd.logs.exceptions import WITHHELD_MESSAGE, exception_fields, loggable_message

QUOTED = "words of the user"


@pytest.mark.parametrize("kind", [ProviderError, Refused, ToolCallUnknown])
def test_messages_that_may_quote_content_are_withheld(kind: type[Exception]) -> None:
    assert loggable_message(kind(QUOTED)) == WITHHELD_MESSAGE


@pytest.mark.parametrize("kind", [ProviderError, ToolCallUnknown])
def test_quoting_messages_are_withheld_in_causes_and_groups(kind: type[Exception]) -> None:
    caused = RuntimeError("outer")
    caused.__cause__ = kind(QUOTED)
    for error in (caused, ExceptionGroup("group", [kind(QUOTED)])):
        text = str(exception_fields(error))
        assert QUOTED not in text
        assert WITHHELD_MESSAGE in text
