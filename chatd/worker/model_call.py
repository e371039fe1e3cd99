"""Model call: from the history to a response, streamed on the way.

A part costs some 45 us of a core from the provider to the socket of one subscriber, about a third of it
here. The benchmark ``parts`` watches it.

A stream that is silent for ``stream_idle_timeout_seconds`` is aborted. Silent means that no bytes arrive:
a model that thinks for minutes behind a server that sends comments or pings is not silent. A stream that
ends without a finish reason is a failure, and so is an answer with nothing in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from chatd.domain.failure import Failure, FailureKind
from chatd.domain.files import File, FileSpan, ReadFiles, new_file
from chatd.domain.message import Content, Part, fold
from chatd.domain.sanitize import (
    is_storable_fragment,
    replace_unstorable,
    replace_unstorable_json,
)
from chatd.fanout.hub import ChatHub
from chatd.fanout.topic import Preview
from chatd.llm.catalog import Catalog, ModelConfig
from chatd.llm.failures.classify import classify
from chatd.llm.provider import Finished, ModelRequest, ToolSpec
from chatd.store.histories import ChatHistory
from chatd.supervision.progress import StageTimeout
from chatd.telemetry import tracing
from chatd.tools.registry import ToolRegistry
from chatd.tools.tool import Tool
from chatd.worker.answers import reason_to_reject, storable_content
from chatd.worker.clock import loop_time
from chatd.worker.compaction.pruning import pruned_view
from chatd.worker.flusher import Flusher
from chatd.worker.lease import Lease
from chatd.worker.tool_call_ids import ToolCallIds
from chatd.worker.turn_limits import TurnLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResponse:
    """A complete response of a model."""

    content: Content
    finished: Finished
    files: tuple[File, ...]
    """The files that ``content`` refers to."""


class ModelCall:
    """One call of the model of one step.

    Entering it starts the step's preview and has the flusher track it. Leaving it ends the tracking.
    ``preview`` then still holds the parts that were streamed, also after a failure or a cancellation.
    """

    preview: Preview
    started_at: float

    def __init__(
        self,
        *,
        catalog: Catalog,
        hub: ChatHub,
        flusher: Flusher,
        limits: TurnLimits,
        lease: Lease,
        model: ModelConfig,
        tools: ToolRegistry,
        read_files: ReadFiles,
    ) -> None:
        self._provider = catalog.provider_of(model)
        self._hub = hub
        self._flusher = flusher
        self._limits = limits
        self._lease = lease
        self._model = model
        self._tools = tools
        self._read_files = read_files
        self._read_error: Exception | None = None
        self._files: dict[str, File] = {}
        self._tool_call_ids = ToolCallIds()
        self.first_part_at: float | None = None

    async def __aenter__(self) -> Self:
        chat = self._lease.chat
        self.preview = self._hub.start_step(chat.id, epoch=chat.epoch, base=chat.settled_part)
        self.started_at = loop_time()
        self._flusher.track(chat.id, self.preview)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._flusher.untrack(self._lease.chat.id, epoch=self._lease.fence.epoch)

    @property
    def content(self) -> Content:
        """The content that was streamed so far."""
        return fold(self.preview.parts)

    async def run(self, history: ChatHistory) -> ModelResponse | Failure:
        """Call the model once. An exception that is no failure of the provider is a bug, and is raised."""
        request = ModelRequest(
            model=self._model.model,
            messages=pruned_view(history.messages, self._lease.chat.pruned_through),
            max_output_tokens=self._model.max_output_tokens,
            settings=self._model.settings,
            tools=self._tool_specs(history),
            native_tools=self._model.native_tools,
            read_files=self._read_for_provider,
        )
        with tracing.model_call_span(
            chat=self._lease.chat,
            provider=self._provider.name,
            model=request.model,
            max_tokens=request.max_output_tokens,
        ) as span:
            outcome = await self._call_provider(request)
            if isinstance(outcome, Failure):
                tracing.set_error(span, outcome.kind.value)
            else:
                finished = outcome.finished
                tracing.record_response(span, reason=finished.reason, usage=finished.usage)
        return outcome

    def _tool_specs(self, history: ChatHistory) -> tuple[ToolSpec, ...]:
        """Return the server's tools and the client's. Of two with one name, the chat has its client's."""
        own = tuple(map(_tool_spec, history.tools))
        names = {spec.name for spec in own}
        return (*(_server_spec(tool) for tool in self._tools.tools if tool.name not in names), *own)

    async def _call_provider(self, request: ModelRequest) -> ModelResponse | Failure:
        try:
            finished = await self._stream(request)
        except StageTimeout as timeout:
            return self._failure(_TIMEOUT_KINDS[timeout.stage], str(timeout))
        except Exception as error:
            if self._read_error is not None:  # the SDK reports it as an error of the network
                raise self._read_error from None
            failure = classify(error, provider=self._provider.name, model=self._model.name)
            if failure is None:
                raise
            return failure
        if finished is None:
            return self._failure(FailureKind.TRUNCATED, "the answer was cut off before its end")
        content = storable_content(self.content, reason=finished.reason)
        if rejection := reason_to_reject(content, reason=finished.reason):
            return self._failure(*rejection)
        files = tuple(self._files[part["file_id"]] for part in content if part["type"] == "file")
        return ModelResponse(content=content, finished=finished, files=files)

    async def _stream(self, request: ModelRequest) -> Finished | None:
        # Importing its library is no silence of the provider. It takes long only after a start.
        await self._provider.warm()
        await self._lease.wait_until_held()
        progress, limits = self._lease.progress, self._limits
        finished: Finished | None = None
        with progress.stage(
            "model stream",
            limits.stream_idle_timeout_seconds,
            within=("model call", limits.model_call_timeout_seconds),
        ) as stream:
            self._lease.ensure_valid()
            request = replace(request, on_bytes=lambda: stream.mark("streaming"))
            async with self._provider.stream(request) as deltas:
                async for delta in deltas:
                    stream.mark("streaming")
                    if isinstance(delta, Finished):
                        finished = delta
                    elif is_storable_fragment(delta.part):
                        self._publish(delta.part)
                    else:
                        self._publish(self._cleaned(delta.part))
        return finished

    def _cleaned(self, part: Part) -> Part:
        if part.get("type") == "file":
            return self._file_reference(part)
        part = replace_unstorable_json(part)
        return self._tool_call_ids.with_unique_id(part) if part["type"] == "tool-call" else part

    def _publish(self, part: Part) -> None:
        if self.first_part_at is None:
            self.first_part_at = loop_time()
        self._hub.publish_part(self._lease.chat.id, self.preview, part)
        self._flusher.add_bytes(len(str(part.get("text", ""))))

    def _file_reference(self, part: Part) -> dict[str, object]:
        """Keep the bytes of a file until the answer is stored, and return what stands for it."""
        file = new_file(part["data"], media_type=replace_unstorable(part["media_type"]))
        self._files[str(file.id)] = file
        return {"index": part["index"], **file.reference()}

    async def _read_for_provider(self, spans: Sequence[FileSpan]) -> Sequence[bytes]:
        try:
            return await self._read_files(spans)
        except Exception as error:
            self._read_error = error
            raise

    def _failure(self, kind: FailureKind, message: str) -> Failure:
        return Failure(
            kind=kind,
            message=f"{self._model.name} ({self._provider.name}): {message}",
            provider=self._provider.name,
            model=self._model.name,
        )


def _tool_spec(tool: Mapping[str, Any]) -> ToolSpec:
    return ToolSpec(
        name=tool["name"], description=tool["description"], parameters=tool["parameters"]
    )


def _server_spec(tool: Tool) -> ToolSpec:
    return ToolSpec(name=tool.name, description=tool.description, parameters=tool.parameters)


_TIMEOUT_KINDS = {"model call": FailureKind.TIMEOUT, "model stream": FailureKind.STREAM_IDLE}
