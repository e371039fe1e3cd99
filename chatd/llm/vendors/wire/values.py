"""Checked values of provider events, and the errors within them."""

import json
from collections.abc import Mapping
from typing import Any

from chatd.llm.errors import InvalidProviderResponse, ProviderError

_MAX_INDEX_DIGITS = 9
_MESSAGE_KEYS = ("message", "detail", "msg", "error_msg", "reason")


def parse_json(data: bytes) -> Any:
    """Return the value of a JSON text. Bytes that are no UTF-8 are replaced."""
    try:
        try:
            return json.loads(data)
        except UnicodeDecodeError:
            return json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise InvalidProviderResponse("an event is no JSON") from error


def parse_event(name: str, data: bytes) -> dict[str, Any]:
    """Return the object in an event. Raise ``ProviderError`` for an error, however it is spelled."""
    if name == "error":
        try:
            raise provider_error(parse_json(data))
        except InvalidProviderResponse:
            raise provider_error(data.decode("utf-8", "replace")) from None
    event = parse_json(data)
    if not isinstance(event, dict):
        raise_error_in(event)
        raise InvalidProviderResponse("an event is no object")
    if event.get("error") or event.get("type") == "error" or event.get("object") == "error":
        raise provider_error(event)
    return event


def raise_error_in(value: object) -> None:
    """Raise ``ProviderError`` if ``value`` describes an error instead of an answer."""
    if isinstance(value, list):
        value = next(iter(value), None)
    if isinstance(value, Mapping) and (
        value.get("error") or any(isinstance(value.get(key), str) for key in _MESSAGE_KEYS)
    ):
        raise provider_error(value)


def provider_error(value: object) -> ProviderError:
    """Return the error that a provider describes in the middle of a response with status 200."""
    nested = value.get("error") if isinstance(value, Mapping) else None
    error = nested or value
    body = error if isinstance(error, Mapping) else {}
    codes = [body.get("code"), body.get("status"), body.get("status_code"), body.get("type")]
    status = next((s for code in codes if (s := _error_status(code)) is not None), None)
    words = [code for code in codes if isinstance(code, str) and not code.isdigit()]
    message = error if isinstance(error, str) else _message(body)
    return ProviderError(
        message or "The provider reported an error.",
        status_code=status,
        code=words[0] if words else None,
        body={"message": message, "code": words[0] if words else None, "type": body.get("type")},
    )


def _message(body: Mapping[str, Any]) -> str:
    for key in _MESSAGE_KEYS:
        if isinstance(text := body.get(key), str):
            return text
    return ""


def _error_status(code: object) -> int | None:
    """Return the HTTP status that some gateways send as the code of an error."""
    number = integer(code)
    return number if number is not None and 400 <= number < 600 else None  # noqa: PLR2004


def text_or_none(value: object, *, name: str) -> str | None:
    """Return a text. Raise ``InvalidProviderResponse`` for what is neither a text nor null."""
    if value is None or isinstance(value, str):
        return value
    raise InvalidProviderResponse(f"{name} is no text")


def identifier(value: object) -> str | None:
    """Return an id as text. None: there is none, or it is no scalar."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    return value if isinstance(value, str) and value.strip() else None


def integer(value: object) -> int | None:
    """Return an index, also one in text. None: it is none."""
    if (
        isinstance(value, str)
        and len(value) <= _MAX_INDEX_DIGITS
        and value.isascii()
        and value.isdigit()
    ):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def arguments_text(value: object) -> str:
    """Return the arguments of a tool call as the text that the SDK expects."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, Mapping):
        return json.dumps(value)
    raise InvalidProviderResponse("the arguments of a tool call are no object")


def sse_record(event: Mapping[str, Any], *, name: str = "") -> bytes:
    """Return one event as the SDK reads it."""
    data = json.dumps(event, separators=(",", ":")).encode()
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data) if name else b"data: %s\n\n" % data
