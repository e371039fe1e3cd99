"""A tool that is an HTTP endpoint.

Arguments that the URL does not take become query parameters of a GET, HEAD or DELETE, and else a JSON body.
``Idempotency-Key`` is the key of the call: an endpoint that honours it sees each call at most once, however
often it is sent. One with a ``result_url`` is asked there for the result of a call by its key: after 202,
after a lost connection, and by a worker that takes the call over.
"""

import codecs
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from chatd.domain.files import whole_image
from chatd.domain.permission import Permission
from chatd.domain.tool_call import CallPolicy
from chatd.domain.tool_call_errors import bad_arguments
from chatd.domain.tool_choice import ToolKind
from chatd.tools.http.awaited_result import STILL_RUNNING, awaited_result, pause_before_next
from chatd.tools.http.client import ToolHttpClient
from chatd.tools.http.url_template import KEY_ARGUMENT, BadUrlArgument, expand, placeholders
from chatd.tools.output import CappedOutput, json_text
from chatd.tools.tool import Tool, ToolOutcome, ToolProgress, ToolRequest

if TYPE_CHECKING:
    import httpx2

METHODS_WITHOUT_BODY: Final = frozenset({"GET", "DELETE"})
MAX_RESPONSE_BYTES: Final = 64 * 1024 * 1024
"""Bytes of a response that are read for its tail. The rest is not read, and the connection is closed."""
MAX_IMAGE_BYTES: Final = 8 * 1024 * 1024
"""Size of an image. No provider takes a larger one from a tool."""
_UNCOMPRESSED: Final = {"Accept-Encoding": "identity"}
"""Header that asks for what it is. A few compressed bytes may be any number of bytes of memory."""
_TYPES_OF_LINES: Final = frozenset({"application/x-ndjson", "application/jsonl"})
"""Media types of one JSON value in each line."""
_ERROR_STATUS, _REDIRECT_STATUS = 400, 300


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpToolConfig:
    """Configuration of a tool that is an HTTP endpoint."""

    name: str
    description: str
    method: str
    url: str
    """A template of ``url_template``."""
    parameters: Mapping[str, Any]
    headers: Mapping[str, str] = field(repr=False)
    policy: CallPolicy
    timeout_seconds: float
    default: bool = True
    """True if chats have it that choose no HTTP tools."""
    permission: Permission | None = None
    read_only: bool = False
    result_url: str | None = None
    """A template, too, of the address of the result of a call, for the policy ``reattach``."""


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """The function of an HTTP tool. Two of the same configuration are equal."""

    config: HttpToolConfig
    client: ToolHttpClient

    async def __call__(self, request: ToolRequest) -> ToolOutcome:
        """Send one request, or ask for its result. What goes wrong with it is an outcome."""
        config = self.config
        args = {**request.args, KEY_ARGUMENT: str(request.key)}
        try:
            url = expand(config.url, args)
            result_url = expand(config.result_url or config.url, args)
        except BadUrlArgument as error:
            return _failed(bad_arguments(str(error)))
        http = await self.client.get()
        headers = {**_UNCOMPRESSED, **config.headers, "Idempotency-Key": str(request.key)}
        pause_seconds = 0.0
        if not request.reattaches:
            outcome = await _send(http, url, headers, config, request)
            if isinstance(outcome, ToolOutcome):
                return outcome
            pause_seconds = outcome

        async def read(response: "httpx2.Response") -> ToolOutcome:
            return await _outcome(response, request)

        return await awaited_result(http, result_url, headers, read, pause_seconds=pause_seconds)


async def _send(
    http: "httpx2.AsyncClient",
    url: str,
    headers: Mapping[str, str],
    config: HttpToolConfig,
    request: ToolRequest,
) -> ToolOutcome | float:
    """Send the request of a call. Return seconds if its result is to be asked for after them."""
    import httpx2  # noqa: PLC0415 - it is imported by now

    is_awaited = config.result_url is not None
    try:
        async with http.stream(
            config.method, url, headers=headers, **_arguments_sent(config, request.args)
        ) as response:
            if is_awaited and response.status_code == STILL_RUNNING:
                return pause_before_next(response)
            return await _outcome(response, request)
    except httpx2.ConnectError:
        return _failed("The endpoint could not be reached, so it was not called.")
    except httpx2.ConnectTimeout:
        return _failed("The endpoint could not be reached in time, so it was not called.")
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
        if is_awaited:
            return 0.0
        return _failed(
            f"The endpoint did not answer properly ({type(error).__name__}). "
            "The call may have had its effect."
        )


def http_tool(config: HttpToolConfig, client: ToolHttpClient) -> Tool:
    """Return the tool of a configuration."""
    return Tool(
        name=config.name,
        description=config.description,
        parameters=config.parameters,
        policy=config.policy,
        timeout_seconds=config.timeout_seconds,
        kind=ToolKind.HTTP,
        by_default=config.default,
        permission=config.permission,
        read_only=config.read_only,
        run=_Endpoint(config, client),
    )


def _arguments_sent(config: HttpToolConfig, args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords that send the arguments which the URL does not take."""
    in_url = placeholders(config.url)
    rest = {name: value for name, value in args.items() if name not in in_url}
    if config.method not in METHODS_WITHOUT_BODY:
        return {"json": rest}
    if not rest:
        return {}  # an empty mapping would take away the query of the URL
    return {"params": {name: _as_text(value) for name, value in rest.items()}}


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json_text(value)


async def _outcome(response: "httpx2.Response", request: ToolRequest) -> ToolOutcome:
    status = response.status_code
    if _REDIRECT_STATUS <= status < _ERROR_STATUS:
        return _failed(
            f"The endpoint answered {status}: it points to another address, which is not followed."
        )
    if response.headers.get("Content-Encoding", "identity") != "identity":
        return _failed(f"The endpoint answered {status} with a compressed body, which is not read.")
    if status < _REDIRECT_STATUS and _media_type(response).startswith("image/"):
        return await _image(response)
    output = CappedOutput(request.output)
    decoder = _text_decoder(response)
    async for data in response.aiter_raw():
        output.add(data)
        if decoder is not None:
            request.on_progress(ToolProgress(text=decoder.decode(data)))
        if output.total > MAX_RESPONSE_BYTES:
            break
    text = output.text()
    if status >= _ERROR_STATUS:
        text = f"The endpoint answered {status}: {text}"
    return ToolOutcome(text=text, is_error=status >= _ERROR_STATUS, cut=output.cut())


async def _image(response: "httpx2.Response") -> ToolOutcome:
    """Return the image that a response is."""
    data = bytearray()
    async for piece in response.aiter_raw():
        data += piece
        if len(data) > MAX_IMAGE_BYTES:
            return _failed(
                f"The endpoint answered with an image of more than {MAX_IMAGE_BYTES} bytes."
            )
    file = whole_image(bytes(data))
    if file is None:
        return _failed("The endpoint answered with an image that cannot be shown.")
    text = f"[image 1 of type {file.media_type}: {len(data)} bytes]"
    return ToolOutcome(text=text, files=[file])


def _media_type(response: "httpx2.Response") -> str:
    media_type: str = response.headers.get("Content-Type", "")
    return media_type.partition(";")[0].strip().lower()


def _text_decoder(response: "httpx2.Response") -> codecs.IncrementalDecoder | None:
    """Return the decoder of a body that a person can read while it arrives. None: it is no such body."""
    media_type = _media_type(response)
    if not media_type.startswith("text/") and media_type not in _TYPES_OF_LINES:
        return None
    return codecs.getincrementaldecoder("utf-8")(errors="replace")


def _failed(text: str) -> ToolOutcome:
    return ToolOutcome(text=text, is_error=True)
