"""Exceptions that this package raises itself, besides those of the SDKs."""

from collections.abc import Mapping
from typing import Any

from chatd.domain.errors import ChatdError


class ProviderError(ChatdError):
    """The provider answered with an error."""

    def __init__(
        self,
        message: str | None = None,
        *,
        status_code: int | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, status_code=status_code, code=code)
        self.status_code = status_code
        self.code = code
        self.headers = headers
        self.body = body


class InvalidProviderResponse(ChatdError):
    """The provider sent a response that could not be read."""


class UnsupportedContent(ChatdError):
    """This chat holds content that cannot be sent to a model."""


class ProviderConfigError(ChatdError):
    """A provider or a model is configured wrongly."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}", key=key)
        self.key = key
