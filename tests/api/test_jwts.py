"""Authentication by JWTs: accepted and rejected tokens, their claims, and expiry."""

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.auth import bearer, create_chat_as, get_as
from support.eventually import TIMEOUT_SECONDS
from support.identity_provider import (
    AUDIENCE,
    FOREIGN_KEY,
    ISSUER,
    PRIVATE_KEYS,
    forge_token,
    jwk_set,
    public_jwk,
    public_pem,
    sign_token,
)
from support.in_process import running_daemon
from support.jwt_auth import CHATS, jwt_auth, status_of
from support.requests import assert_problem, fill_path, is_stream, open_stream, operations
from support.scheduling_delay import measure_scheduling_delay


@pytest.fixture
def jwks(tmp_path: Path) -> str:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(jwk_set()))
    return str(file)


RSA_MORE = ("RS384", "RS512", "PS256", "PS384", "PS512")


async def test_valid_jwts_are_accepted(dsn: str, jwks: str) -> None:
    async with running_daemon(dsn, auth=jwt_auth(jwks)) as chatd:
        tokens = [sign_token(name) for name in PRIVATE_KEYS]
        tokens += [sign_token(algorithm=algorithm) for algorithm in RSA_MORE]
        tokens += [sign_token(aud=["other", AUDIENCE]), sign_token(nbf=int(time.time()))]
        tokens += [sign_token(iat=int(time.time()) + 1), sign_token(exp=2**70)]
        for token in tokens:
            chat = await create_chat_as(chatd, bearer(token))
            assert chat["owner_id"] == "ann"
        bob = bearer(sign_token(sub="bob"))
        assert_problem(await get_as(chatd, f"{CHATS}/{chat['id']}", bob), 404, "chat_not_found")


def invalid_tokens() -> Mapping[str, tuple[str, str]]:
    """Return invalid tokens by name, each with words of its rejection."""
    now = int(time.time())
    rsa, head = sign_token(), {"alg": "HS256", "typ": "JWT", "kid": "rsa"}
    made, payload, signature = rsa.split(".")
    other_payload = sign_token(sub="boss").split(".")[1]
    modulus = public_jwk("rsa")["n"].encode()
    return {
        "signed by another": (sign_token(key=FOREIGN_KEY), "signature"),
        "another's words": (f"{made}.{other_payload}.{signature}", "signature"),
        "no signature": (f"{made}.{payload}.", "signature"),
        "another key's name": (sign_token("rsa", kid="p256"), "algorithm"),
        "an algorithm of another curve": (sign_token("p384", kid="p256"), "algorithm"),
        "an unknown key": (sign_token(kid="new"), "its key is unknown"),
        "no name of a key": (sign_token(kid=None, key=FOREIGN_KEY), "signature"),
        "none": (forge_token({**head, "alg": "none"}), "algorithm is not allowed"),
        "None": (forge_token({**head, "alg": "None"}), "algorithm is not allowed"),
        "a list of algorithms": (
            forge_token({**head, "alg": ["RS256"]}, b"x"),
            "algorithm is not allowed",
        ),
        "an object as algorithm": (
            forge_token({**head, "alg": {"RS256": 1}}, b"x"),
            "algorithm is not allowed",
        ),
        "no algorithm": (forge_token({"typ": "JWT", "kid": "rsa"}), "not valid"),
        "HMAC of the PEM": (forge_token(head, public_pem("rsa")), "algorithm is not allowed"),
        "HMAC of the modulus": (forge_token(head, modulus), "algorithm is not allowed"),
        "HMAC of nothing": (forge_token(head, b""), "algorithm is not allowed"),
        "HMAC, said to be RSA": (
            forge_token({**head, "alg": "RS256"}, public_pem("rsa")),
            "signature",
        ),
        "a key of its own": (
            forge_token(
                {**head, "alg": "RS256", "jwk": public_jwk("rsa"), "jku": "http://evil/"}, b"x"
            ),
            "signature",
        ),
        "expired": (sign_token(exp=now - 60), "expired"),
        "expired just now": (sign_token(exp=now), "expired"),
        "not valid yet": (sign_token(nbf=now + 60), "not valid yet"),
        "made in the future": (sign_token(iat=now + 60), "not valid yet"),
        "without an end": (sign_token(exp=None), "claim is missing"),
        "another audience": (sign_token(aud="other"), "audience"),
        "no audience": (sign_token(aud=None), "claim is missing"),
        "another issuer": (sign_token(iss="https://evil.example.com/"), "issuer"),
        "issuer but for a slash": (sign_token(iss=ISSUER.rstrip("/")), "issuer"),
        "no issuer": (sign_token(iss=None), "claim is missing"),
        "no owner": (sign_token(sub=None), "names no owner"),
        "an empty owner": (sign_token(sub=""), "names no owner"),
        "an owner that no header can name": (sign_token(sub=" ann"), "names no owner"),
        "an owner of two lines": (sign_token(sub="an\nn"), "names no owner"),
        "an endless owner": (sign_token(sub=256 * "a"), "names no owner"),
        "an endless end": (sign_token(exp=float("inf")), "not valid"),
        "an owner that cannot be stored": (sign_token(sub="an\x00n"), "names no owner"),
        "half a character": (sign_token(sub="a\ud800"), "names no owner"),
        "an end that is no number": (sign_token(exp="soon"), "not valid"),
        "endless": (forge_token({**head, "alg": "RS256"}, exp=float("inf")), "not valid"),
        "nothing": ("a.b.c", "cannot be read"),
        "dots": ("..", "cannot be read"),
        "a chatd token": ("chatd_" + "A" * 43, "cannot be read"),
        "a nest": ("W1tb" * 9000 + ".e30.e30", "cannot be read"),
        "encrypted": ("a.b.c.d.e", "cannot be read"),
    }


async def test_invalid_jwts_get_401(dsn: str, jwks: str) -> None:
    async with running_daemon(dsn, auth=jwt_auth(jwks)) as chatd:
        assert await status_of(chatd, sign_token()) == 200
        for name, (token, reason) in invalid_tokens().items():
            answer = await get_as(chatd, CHATS, bearer(token))
            assert answer.status_code == 401, (name, answer.text)
            assert_problem(answer, 401, "unauthorized", reason)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert token not in answer.text
        assert_problem(await chatd.api.http.get(CHATS), 401, "unauthorized")
        assert not chatd.logged("http.unexpected")


async def test_owner_and_scope_claims_are_configurable(dsn: str, jwks: str) -> None:
    auth = jwt_auth(jwks, owner_claim="tenant", scope_claim="chatd_scopes")
    async with running_daemon(dsn, auth=auth) as chatd:
        ann = bearer(sign_token(tenant="ann", sub="x"))
        chat = await create_chat_as(chatd, ann)
        assert chat["owner_id"] == "ann"
        assert_problem(
            await get_as(chatd, CHATS, bearer(sign_token())), 401, "unauthorized", "tenant"
        )
        path = f"{CHATS}/{chat['id']}"
        for claim in (
            True,
            1,
            "",
            [],
            {"read-all": True},
            "read_all",
            ["READ-ALL"],
            [["read-all"]],
            "openid",
        ):
            almost = bearer(sign_token(tenant="bob", chatd_scopes=claim))
            assert_problem(await get_as(chatd, path, almost), 404, "chat_not_found")
        for claim in ("read-all", "openid read-all", ["read-all", 1, "email"]):
            reader = bearer(sign_token(tenant="boss", chatd_scopes=claim))
            assert (await get_as(chatd, path, reader)).json() == chat
            assert_problem(await get_as(chatd, CHATS, reader), 403, "insufficient_scope", "chats")
        backend = bearer(sign_token(tenant="backend", chatd_scopes="act-for"))
        for_ann = backend | {"x-chatd-owner": "ann"}
        assert (await get_as(chatd, CHATS, for_ann)).json()["items"] == [chat]
    async with running_daemon(dsn, auth=jwt_auth(jwks, owner_claim="tenant")) as chatd:
        assert_problem(await get_as(chatd, path, reader), 404, "chat_not_found")


async def test_stream_ends_when_the_jwt_expires(dsn: str, jwks: str) -> None:
    streams = [path for _, path, operation in operations() if is_stream(operation)]
    async with (
        running_daemon(dsn, auth=jwt_auth(jwks)) as chatd,
        measure_scheduling_delay() as busy,
    ):
        chat = (await create_chat_as(chatd, bearer(sign_token())))["id"]

        async def ended(path: str, headers: Any) -> float | None:
            async with open_stream(chatd, fill_path(path, chat), headers=headers) as stream:
                if stream.status_code == 401:  # it came too late
                    return None
                assert stream.status_code == 200
                async for _ in stream.aiter_lines():
                    pass
            return time.time()

        long = bearer(sign_token())
        open_streams = [asyncio.create_task(ended(path, long)) for path in streams]
        for life in (3, 6, 12):
            until = int(time.time()) + life
            short = bearer(sign_token(exp=until))
            with anyio.fail_after(life + TIMEOUT_SECONDS):
                ends = await asyncio.gather(*(ended(path, short) for path in streams))
            if None not in ends:
                break
        assert all(end and until - 0.1 < end < until + 1 + busy.total for end in ends)
        assert_problem(await get_as(chatd, CHATS, short), 401, "unauthorized", "expired")
        assert not any(task.done() for task in open_streams)
        for task in open_streams:
            task.cancel()
        await asyncio.wait(open_streams)
