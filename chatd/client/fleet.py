"""Methods for operators: workers, and active chats of all owners."""

from collections.abc import Sequence
from typing import Any

from chatd.client.http import Http, api_path, drop_none
from chatd.client.types import Fleet as FleetState
from chatd.client.types import FleetChat, MetricsHistory


class Fleet:
    """Methods for operators, as ``client.fleet``. Each takes a token with the scope ``operate``."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def get(self) -> FleetState:
        """Return the workers with their leases, and the active chats by status, owner and stage."""
        state: FleetState = await self._http.request("GET", "/fleet")
        return state

    async def history(self) -> MetricsHistory:
        """Return the last hour of the metrics of the process that answers."""
        history: MetricsHistory = await self._http.request("GET", "/fleet/history")
        return history

    async def chats(
        self, *, status: str | None = None, owner_id: str | None = None, limit: int = 50
    ) -> Sequence[FleetChat]:
        """Return active chats of all owners, the longest in their status first.

        Args:
            status: Only chats in this status. ``waiting`` chats are not active.
            owner_id: Only chats of this owner.
            limit: Maximum number of chats, at most 200.
        """
        params = drop_none(status=status, owner_id=owner_id, limit=limit)
        page: dict[str, Any] = await self._http.request("GET", "/fleet/chats", params=params)
        chats: Sequence[FleetChat] = page["items"]
        return chats

    async def interrupt(self, chat_id: str, *, idempotency_key: str | None = None) -> FleetChat:
        """Stop the running turn of a chat of any owner. The answer so far is kept."""
        return await self._act(chat_id, "interrupt", idempotency_key)

    async def retry(self, chat_id: str, *, idempotency_key: str | None = None) -> FleetChat:
        """Retry the failed turn of a chat of any owner."""
        return await self._act(chat_id, "retry", idempotency_key)

    async def archive(self, chat_id: str, *, idempotency_key: str | None = None) -> FleetChat:
        """Archive an idle chat of any owner, with its descendants."""
        return await self._act(chat_id, "archive", idempotency_key)

    async def drain(self, worker_id: str) -> None:
        """Ask a worker to claim no more chats. Its turns go on."""
        await self._http.request("PUT", api_path("fleet", "workers", worker_id, "drain"))

    async def resume(self, worker_id: str) -> None:
        """Have a worker that drains claim chats again."""
        await self._http.request("DELETE", api_path("fleet", "workers", worker_id, "drain"))

    async def _act(self, chat_id: str, action: str, key: str | None) -> FleetChat:
        path = api_path("fleet", "chats", chat_id, action)
        chat: FleetChat = await self._http.request("POST", path, idempotency_key=key)
        return chat
