"""Connected API of a provider: an HTTP client, the models on it, and a call. Imported late."""

import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import httpx2
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.native_tools import (
    NATIVE_TOOL_TYPES,
    SUPPORTED_NATIVE_TOOLS,
    AbstractNativeTool,
)
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from chatd.domain.message import Message
from chatd.llm.errors import ProviderConfigError, ProviderError
from chatd.llm.native_tools import NativeTool
from chatd.llm.provider import Delta, ModelRequest, ToolSpec
from chatd.llm.vendors.decode import decode_stream, translate_provider_errors
from chatd.llm.vendors.encode import encode_history, without_notes
from chatd.llm.vendors.files import read_text_files, text_length
from chatd.llm.vendors.history import acceptable_history
from chatd.llm.vendors.history_rules import HistoryRules
from chatd.llm.vendors.thinking_tags import split_thinking
from chatd.llm.vendors.wire.http import NormalizerFactory, NormalizingClient
from chatd.llm.vendors.wire.record import AnswerRecord, current_answer
from chatd.llm.vendors.wire.uploads import Uploads

AS_GIVEN_PROFILE = ModelProfile(json_schema_transformer=None)
"""Part of the profile of every model: a tool's schema is sent as the caller gave it.

pydantic-ai's transformers add ``additionalProperties: false``, by which ``{"type": "object"}`` becomes an
object that may hold nothing.
"""
MAX_TEXT_LENGTH = 16 * 1024 * 1024
"""Most characters of one request. To encode them blocks the event loop, and no model takes so many."""
NO_THINKING_TAGS = ("", "")
"""Tags that no text holds. pydantic-ai would take ``<think>`` anywhere in an answer for reasoning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderEndpoint:
    """Address and credentials of a provider's API."""

    name: str
    rules: HistoryRules
    base_url: str | None
    api_key: str | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    connect_seconds: float
    takes_max_completion_tokens: bool = False

    def http_client(self, normalizer: NormalizerFactory) -> NormalizingClient:
        """Return a client without a read timeout: the caller of a model has the deadline, and cancels."""
        return NormalizingClient(
            normalizer=normalizer,
            timeout=httpx2.Timeout(None, connect=self.connect_seconds),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=100),
        )


class ProviderClient:
    """Client that calls models over one pool of HTTP connections."""

    def __init__(
        self,
        endpoint: ProviderEndpoint,
        *,
        http: httpx2.AsyncClient,
        make_model: Callable[[str], Model[Any]],
        known_settings: frozenset[str],
        tagged_models: re.Pattern[str] | None = None,
    ) -> None:
        self._name = endpoint.name
        self._rules = endpoint.rules
        self._http = http
        self._make_model = make_model
        self._known_settings = known_settings
        self._tagged_models = tagged_models
        self._models: dict[str, Model[Any]] = {}

    @asynccontextmanager
    async def call(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[Delta]]:
        """Call the model and yield its deltas. Leaving the context closes the response."""
        model = self._models.get(request.model)
        if model is None:
            model = self._models[request.model] = self._make_model(request.model)
        tools = ModelRequestParameters(
            function_tools=[_tool_definition(spec) for spec in request.tools],
            native_tools=[_native_tool(tool, model) for tool in request.native_tools],
        )
        _check_text_length(request.messages)
        uploads = Uploads(request.read_files, on_bytes=request.on_bytes)
        texts = await read_text_files(request.messages, request.read_files)
        history = acceptable_history(
            request.messages,
            provider=self._name,
            rules=self._rules,
            file_texts=texts,
            native_tools={tool.kind for tool in request.native_tools},
        )
        encoded = encode_history(
            history,
            system=model.system,
            text_as_string=self._rules.text_as_string,
            placeholder=uploads.placeholder,
        )
        messages = without_notes(model.prepare_messages(encoded, tools))
        settings = self._settings(request)
        async with AsyncExitStack() as stack:
            record = AnswerRecord(on_bytes=request.on_bytes, uploads=uploads)
            current_answer.set(record)
            stream = model.request_stream(messages, settings, tools)
            with translate_provider_errors(record):
                response = await stack.enter_async_context(stream)
            deltas = decode_stream(response, record, provider=self._name)
            if self._tagged_models and self._tagged_models.search(request.model):
                deltas = split_thinking(deltas)
            yield await stack.enter_async_context(aclosing(deltas))

    def _settings(self, request: ModelRequest) -> ModelSettings:
        """Return the model's settings. A setting that the SDK does not know is an error."""
        for key in sorted(request.settings.keys() - self._known_settings):
            raise ProviderConfigError(
                f"settings.{key}", f"model {request.model!r} has no such setting"
            )
        settings = dict(request.settings)
        if request.max_output_tokens is not None:
            settings["max_tokens"] = request.max_output_tokens
        return cast("ModelSettings", settings)

    async def aclose(self) -> None:
        """Close the HTTP connections."""
        await self._http.aclose()


def _check_text_length(messages: Iterable[Message]) -> None:
    length = sum(text_length(part) for message in messages for part in message.content)
    if length > MAX_TEXT_LENGTH:
        raise ProviderError(
            f"its texts have {length} characters, and no model takes {MAX_TEXT_LENGTH}",
            code="context_length_exceeded",
        )


def _tool_definition(spec: ToolSpec) -> ToolDefinition:
    return ToolDefinition(
        name=spec.name,
        description=spec.description,
        parameters_json_schema=dict(spec.parameters),
        strict=False,
    )


def _native_tool(tool: NativeTool, model: Model[Any]) -> AbstractNativeTool:
    native = NATIVE_TOOL_TYPES[tool.kind](**tool.options)
    if type(native) not in model.profile.get("supported_native_tools", SUPPORTED_NATIVE_TOOLS):
        problem = f"model {model.model_name!r} has no tool {tool.kind!r} of its own"
        raise ProviderConfigError("native_tools", problem)
    return native
