"""The FastAPI application: its routes and error handlers."""

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI
from typing_extensions import override

from chatd import __version__
from chatd.api.adapter import Adapter
from chatd.api.context import ApiContext
from chatd.api.errors import problems
from chatd.api.openapi import document
from chatd.api.routes import (
    actions,
    chat_list,
    chat_list_stream,
    chat_stream,
    chats,
    docs,
    explain,
    files,
    fleet,
    health,
    messages,
    queue,
    tool_calls,
    tool_results,
)
from chatd.api.routes import operations as operations_routes
from chatd.api.routes.operations import Operations

PUBLIC_PATHS = frozenset(
    {"/livez", "/readyz", "/openapi.json", "/docs", *(f"/{path}" for path in docs.ASSETS)}
)
"""Paths that need no credential. All others do, whether they exist or not."""

_DESCRIPTION = """Chats with language models that outlive browsers, deploys and crashed hosts.

Create a chat, follow its stream, and come back to it with the id of the last event you have."""

# Starlette tries them in this order, so the busiest come first. ``chat_list_stream`` must precede
# ``chats``, which would take its path for that of a chat with the id "stream".
_ROUTERS = tuple(
    module.router
    for module in (
        chat_stream, messages, chat_list_stream, chats, chat_list, explain, files, queue, tool_calls,
        actions,
        tool_results, fleet, health, operations_routes,
    )
)  # fmt: skip


def create_app(
    context: ApiContext | None,
    *,
    adapters: Sequence[Adapter] = (),
    operations: Operations | None = None,
    not_ready: Callable[[], str | None] = lambda: None,
    database_reachable: Callable[[], bool] = lambda: True,
) -> FastAPI:
    """Return the application of the routes. Without a ``context`` it can only describe itself.

    ``not_ready`` returns why the process is not ready, or None. It is served through a ``RequestPipeline``,
    which knows the callers. With ``adapters``, that is behind ``AdapterPaths``.
    """
    app = _App(
        title="chatd",
        version=__version__,
        description=_DESCRIPTION,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    app.state.context = context
    app.state.operations = operations
    app.state.not_ready = not_ready
    app.state.database_reachable = database_reachable
    problems.install(app)
    docs.install(app)
    routers = [*_ROUTERS, *(adapter.router for adapter in adapters)]
    for router in routers:
        app.include_router(router)
    app.state.routes = [route for router in routers for route in router.routes]
    return app


class _App(FastAPI):
    @override
    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = document.finalize(super().openapi(), public_paths=PUBLIC_PATHS)
        return self.openapi_schema
