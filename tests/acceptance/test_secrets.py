"""The log of a real process holds no secret and no content of a chat, at any level, in any failure."""

import json
import signal
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg
from support.model_server import model_server
from support.processes import chatd_process
from support.provider_cases import error_response
from support.sse_client import ApiClient, client

from chatd.store.database import Database
from chatd.store.tokens import Tokens

# None of these looks like a secret: what is found is found because it is known to be one.
SECRETS = {
    "password of the database": "quail harbor/7",
    "key in the configuration": "plum.orchard.fence",
    "key in the environment": "walnut_gate_eleven",
    "key in a file": "marble stairs nine",
    "header of a provider": "copper kettle blue",
    "password in a base_url": "lantern-vole",
    "key after a reload": "juniper.fog.sixteen",
    "sent as a token": "chatd_" + "A1b2C3d4" * 5,
    "sent in a query": "sparrow-ledger",
}
WORDS = {
    "said": "violet anchovy said", "title": "violet anchovy titled", "label": "violet anchovy label",
    "label's name": "violet-anchovy", "prompt": "violet anchovy prompt", "edited": "violet anchovy edit",
    "tool": "violet anchovy tool", "arguments": "violet anchovy args", "result": "violet anchovy result",
    "panic": "violet anchovy panics", "provider's error": "violet anchovy refused",
    "answer": "violet anchovy answers", "unstorable": "violet anchovy unstorable",
    "unsayable": "violet anchovy unsayable",
}  # fmt: skip
MARK = "anchovy"

CONFIG = """
[auth]
mode = "token"
[turn]
max_attempts = 2
backoff_seconds = 0.01
[providers.vendor]
kind = "openai-compatible"
base_url = "{url}"
api_key = "{key}"
headers = {{ x-gateway = "{header}" }}
[providers.other]
kind = "openai-compatible"
base_url = "{url}"
[providers.third]
kind = "openai-compatible"
base_url = "{url}"
api_key_file = "{file}"
[providers.fourth]
kind = "openai-compatible"
base_url = "{gateway}"
[models.fourth]
provider = "fourth"
model = "m"
[models.vendor]
provider = "vendor"
model = "m"
[models.other]
provider = "other"
model = "m"
[models.third]
provider = "third"
model = "m"
[providers.fake]
kind = "scripted"
[[providers.fake.script]]
text = "{answer}: {{message}}"
[providers.fake.scripts]
panic = [{{ panic = "{panic} key={key}" }}]
fails = [{{ error = {{ status = 400, message = "{error} with {key}" }} }}]
retry = [{{ error = {{ status = 529, message = "{error}" }} }}]
calls = [{{ tool_call = {{ name = "look", args = {{ where = "{args}" }} }}, calls = [1] }},
         {{ text = "{unstorable}", calls = [2] }}]
block = [{{ block_seconds = 1.5 }}, {{ text = "{answer}" }}]
[models.fake]
provider = "fake"
model = "m"
default = true
[log]
level = "debug"
loop_blocked_seconds = 0.2
slow_request_seconds = 0.001
"""

BROKEN = """
CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.content::text LIKE '%unstorable%' AND NEW.role = 'assistant'
       OR NEW.content::text LIKE '%unsayable%' THEN
        RAISE EXCEPTION 'cannot store %', NEW.content USING DETAIL = NEW.content::text;
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION unfailing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.status = 'error' AND NEW.title LIKE '%unfailing%' THEN
        RAISE EXCEPTION 'cannot fail %', NEW.title USING DETAIL = NEW.last_error;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER unfailing BEFORE UPDATE ON chats FOR EACH ROW EXECUTE FUNCTION unfailing();
CREATE TRIGGER broken BEFORE INSERT ON chat_messages FOR EACH ROW EXECUTE FUNCTION broken();
"""


def config(url: str, folder: Path, key: str) -> str:
    (folder / "key").write_text(SECRETS["key in a file"])
    password = quote(SECRETS["password in a base_url"])
    return CONFIG.format(
        url=url, gateway=url.replace("http://", f"http://gateway:{password}@"), key=key,
        header=SECRETS["header of a provider"], file=folder / "key", answer=WORDS["answer"],
        panic=WORDS["panic"], error=WORDS["provider's error"], args=WORDS["arguments"],
        unstorable=WORDS["unstorable"],
    )  # fmt: skip


def with_password(dsn: str) -> str:
    parts = urlsplit(dsn)
    login, at, host = parts.netloc.rpartition("@")
    secret = quote(SECRETS["password of the database"], safe="")
    return parts._replace(netloc=f"{login.partition(':')[0]}:{secret}{at or '@'}{host}").geturl()


async def token(dsn: str) -> str:
    database = Database(dsn)
    await database.open()
    _, secret = await Tokens(database).create(owner_id="somebody")
    await database.close()
    return secret


async def whole_turns(api: ApiClient) -> list[str]:
    """Cause every kind of log line, and every kind of failure."""
    chats = []
    for model in ("fake", "vendor", "other", "third", "fourth"):
        chat = await api.create(
            WORDS["said"], model=model, title=WORDS["title"], system_prompt=WORDS["prompt"],
            labels={WORDS["label's name"]: WORDS["label"]},
        )  # fmt: skip
        await api.wait_for_status(chat["id"], "waiting" if model == "fake" else "error")
        chats.append(chat["id"])
    for name in ("panic", "fails", "retry"):
        chat = await api.create(f"[[{name}]] {WORDS['said']}")
        assert (
            MARK in (await api.wait_for_status(chat["id"], "error"))["last_error"]
            or name == "retry"
        )
        chats.append(chat["id"])
    await api.create("[[block]]")
    await api.create(f"[[panic]] {WORDS['said']}", title=f"{WORDS['title']} unfailing")
    return [*chats, await with_tools(api), await edit_message(api, chats[0])]


async def with_tools(api: ApiClient) -> str:
    tool = {"name": "look", "description": WORDS["tool"], "parameters": {"type": "object"}}
    chat = await api.create(f"[[calls]] {WORDS['said']}", tools=[tool])
    await api.wait_for_status(chat["id"], "requires_action")
    [call] = [
        part
        for m in await api.messages(chat["id"])
        for part in m["content"]
        if "tool_call_id" in part
    ]
    assert WORDS["arguments"] in str(call["args"])
    await api.submit_tool_results(chat["id"], {call["tool_call_id"]: {"seen": WORDS["result"]}})
    assert (
        "panicked" in (await api.wait_for_status(chat["id"], "error"))["last_error"]
    )  # it cannot be stored
    return str(chat["id"])


async def edit_message(api: ApiClient, chat_id: str) -> str:
    said = [m for m in await api.messages(chat_id) if m["role"] == "user"][-1]
    await api.edit(chat_id, said["id"], WORDS["edited"])
    await api.wait_for_status(chat_id, "waiting")
    return chat_id


async def send_invalid_requests(api: ApiClient, chat_id: str) -> None:
    """Send requests that fail and hold content that must not be logged."""
    path = f"/api/v1/chats/{chat_id}"
    unsayable = await api.http.post(f"{path}/messages", json={"content": WORDS["unsayable"]})
    assert unsayable.status_code == 500
    assert MARK not in unsayable.text
    stranger = {"authorization": f"Bearer {SECRETS['sent as a token']}"}
    assert (await api.http.get(path, headers=stranger)).status_code == 401
    assert (await api.http.get("/api/v1/chats", params={"q": WORDS["said"]})).status_code == 200
    query = {"token": SECRETS["sent in a query"], "q": WORDS["said"]}
    unknown = await api.http.get("/api/v1/chats", params=query)
    assert unknown.status_code == 422
    assert SECRETS["sent in a query"] not in unknown.text
    assert (await api.http.get(f"/{WORDS['said']}/{SECRETS['sent in a query']}")).status_code == 404
    wrong = {"content": [{"type": WORDS["said"], "text": 7}]}
    assert (await api.http.post(f"{path}/messages", json=wrong)).status_code == 422
    assert (await api.http.post(f"{path}/messages", content=WORDS["said"])).status_code == 422


async def test_log_has_no_content_and_no_secrets(tmp_path: Path, dsn: str) -> None:
    admin = await asyncpg.connect(dsn)
    await admin.execute(BROKEN)
    await admin.close()
    secret = await token(dsn)
    keys = ", ".join(
        SECRETS[f"key in {where}"] for where in ("the configuration", "the environment", "a file")
    )
    refusal = {"error": {"message": f"You said {WORDS['said']} with {keys}"}}
    async with model_server(error_response(json.dumps(refusal).encode(), 400)) as vendor:
        with chatd_process(
            tmp_path,
            with_password(dsn),
            settings=config(vendor.url, tmp_path, SECRETS["key in the configuration"]),
            scripts="",
            environment={"CHATD_PROVIDERS__OTHER__API_KEY": SECRETS["key in the environment"]},
        ) as chatd:
            await chatd.wait_until_ready()
            async with client(chatd) as api:
                api.http.headers["authorization"] = f"Bearer {secret}"
                chats = await whole_turns(api)
                await send_invalid_requests(api, chats[0])
                key = SECRETS["key after a reload"]
                chatd.config.write_text(config(vendor.url, tmp_path, key))
                chatd.send_signal(signal.SIGHUP)
                await chatd.wait_for_log("config.reloaded")
                again = await api.create(WORDS["said"], model="vendor")
                await api.wait_for_status(again["id"], "error")
            chatd.send_signal(signal.SIGTERM)
            assert await chatd.wait_for_exit() == 0
        seen = {str(header) for sent in vendor.requests for header in sent.headers.values()}
    for name in ("configuration", "environment", "a file"):
        named = f"key in {'the ' if name != 'a file' else ''}{name}"
        assert any(SECRETS[named] in header for header in seen), named
    assert any(key in header for header in seen)
    assert SECRETS["header of a provider"] in seen
    output = "".join(chatd.raw_lines)
    found = {name for name, text in (SECRETS | WORDS | {"token": secret}).items() if text in output}
    found |= {name for name, text in SECRETS.items() if json.dumps(text)[1:-1] in output}
    assert not found, [
        line for line in chatd.raw_lines if any(one in line for one in _texts(secret))
    ]
    assert MARK not in output
    assert every_event_was_logged(chatd.lines)


def _texts(secret: str) -> list[str]:
    return [secret, MARK, *SECRETS.values()]


def every_event_was_logged(lines: list[dict[str, Any]]) -> bool:
    """Check that the log has all of these events, each with its subject."""
    said = {line["event"] for line in lines}
    expected = {
        "chat.turn", "chat.failed", "chat.store_failed", "chat.panicked", "chat.retry", "http.request",
        "http.unexpected", "library.message", "loop.blocked", "config.reloaded",
    }  # fmt: skip
    assert said >= expected, expected - said
    for line in lines:
        if line["event"] in {"chat.panicked", "http.unexpected"}:
            assert "Traceback" in line["exception"]["traceback"]
        if line["event"].startswith("chat."):
            assert line["chat_id"]
            assert line["epoch"] >= 1
        if line["event"] == "http.request":
            assert line["request_id"]
        assert line["worker_id"] == lines[-1]["worker_id"] or line["event"].startswith("migrate.")
    return True
