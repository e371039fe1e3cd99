"""Requests during outages of the database."""

from support.eventually import eventually
from support.in_process import InProcessDaemon


async def message_is_accepted(chatd: InProcessDaemon, chat_id: str) -> bool:
    """Send a message. Return whether it was accepted; it may also be refused with 503."""
    response = await chatd.api.http.post(
        f"/api/v1/chats/{chat_id}/messages", json={"content": "again"}
    )
    assert response.status_code in {202, 503}, response.text
    return response.status_code == 202


async def wait_until_not_ready(chatd: InProcessDaemon) -> None:
    """Wait until /readyz says 503. It goes by a ping every two seconds, so it says so a little later."""

    async def not_ready() -> bool:
        return (await chatd.api.http.get("/readyz")).status_code == 503

    await eventually(not_ready)
