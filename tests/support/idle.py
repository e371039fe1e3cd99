"""Waiting until a chat is idle."""

from support.eventually import eventually
from support.in_process import InProcessDaemon


async def wait_until_idle(
    chatd: InProcessDaemon, chat_id: str, *, seed: int | None = None
) -> dict[str, object]:
    """Wait until the chat is idle, and check that it answers the next message.

    A failure names the ``seed`` of a random test.
    """
    chat = await eventually(
        lambda: idle_chat(chatd, chat_id),
        describe=lambda: f"idle; seed {seed}",
        interval_seconds=0.1,
    )
    assert chat["status"] == "waiting", chat
    assert chat["last_error"] is None
    texts_before = len(await chatd.api.texts(chat_id))
    await chatd.api.send(chat_id, "and now")
    await chatd.api.wait_for_status(chat_id, "waiting")
    texts = await chatd.api.texts(chat_id)
    assert texts[-1] == "You said: and now"
    assert len(texts) == texts_before + 1
    return dict(chat)


async def idle_chat(chatd: InProcessDaemon, chat_id: str) -> dict[str, object] | None:
    chat = await chatd.api.chat(chat_id)
    return chat if chat["status"] in {"waiting", "error"} else None
