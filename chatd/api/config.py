"""Configuration of the API that a reload may replace."""

from dataclasses import dataclass

from chatd.api.request.limits import RequestLimits
from chatd.llm.catalog import Catalog
from chatd.tools.registry import ToolRegistry


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiConfig:
    """Values that each request reads anew, so that a reload applies to the next one.

    A limit of 0 means unlimited.
    """

    catalog: Catalog
    request: RequestLimits
    tools: ToolRegistry
    """The tools of the configuration, for checks of arguments that people change."""
    requests_per_second: int
    """Requests of one owner to this process."""
    max_requests_per_owner: int
    """Requests of one owner that this process works on at once."""
    max_streams_per_owner: int
    max_searches_per_owner: int
    """Searches of one owner that run at once on this process."""
    max_body_bytes: int
    keepalive_seconds: float
    """The interval of comments on a silent stream; read when the stream opens."""
    slow_request_seconds: float
    """Requests that take longer are logged at level info."""
