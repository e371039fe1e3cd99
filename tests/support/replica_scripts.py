"""Scripts of the processes that stop or are interrupted, and views that follow their chats."""

from collections.abc import Callable

from support.sse_client import ApiClient, ChatView, text_of

SCRIPTS = """
[providers.fake]
kind = "scripted"
[[providers.fake.script]]
text = "You said: {message}"
chunks = 3
[[providers.fake.scripts.quick]]
text = "A quick one for {message}"
chunks = 6
delay_seconds = 0.02
[[providers.fake.scripts.slow]]
text = "One two three four five six seven eight nine ten eleven twelve."
chunks = 20
delay_seconds = 0.15
[[providers.fake.scripts.hang]]
text = "I begin and "
chunks = 3
[[providers.fake.scripts.hang]]
hang = true
[[providers.fake.scripts.busy]]
error = { status = 503 }
turns = [1]
[[providers.fake.scripts.busy]]
text = "Back."
[models.fake]
provider = "fake"
model = "fake-1"
"""


def is_drained(view: ChatView) -> bool:
    """Return whether the stream ended because its process stops."""
    return bool(view.events) and view.events[-1].event == "draining"


def is_idle(view: ChatView) -> bool:
    """Return whether the chat is seen without a turn."""
    return view.status in {"waiting", "error"}


async def watch(
    api: ApiClient, chat_id: str, view: ChatView, until: Callable[[ChatView], bool] = is_drained
) -> None:
    """Follow until ``until`` holds. A stream that ends before that is a failure."""
    await api.follow(chat_id, view, until)
    assert until(view), view.events[-1]


async def stored_texts(api: ApiClient, chat_id: str) -> dict[int, str]:
    """Return the texts of the stored messages by their ids."""
    return {m["id"]: text_of(m["content"]) for m in await api.messages(chat_id)}
