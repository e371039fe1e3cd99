"""One message on a real process is answered, streamed and stored."""

from pathlib import Path

from support.processes import chatd_process
from support.sse_client import ChatView, client


async def test_message_is_answered(tmp_path: Path, dsn: str) -> None:
    with chatd_process(tmp_path, dsn, through=["env"]) as chatd:  # executed, not forked
        await chatd.wait_until_ready()
        async with client(chatd) as api:
            chat = await api.create("hello there")
            view = await api.follow(chat["id"], ChatView(), lambda view: view.status == "waiting")
            assert list(view.messages.values()) == ["hello there", "You said: hello there"]
            assert await api.texts(chat["id"]) == ["You said: hello there"]
            assert (await api.chat(chat["id"]))["last_error"] is None
        turn = await chatd.wait_for_log("chat.turn", chat_id=chat["id"])
        assert turn["outcome"] == "finished"
        assert "hello there" not in "".join(chatd.raw_lines)
