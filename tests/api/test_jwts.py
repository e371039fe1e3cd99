"""Authentication by JWTs: accepted and rejected tokens, expiry, and the key set."""

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jwt.algorithms import RSAAlgorithm
from support.auth import bearer, create_chat_as, get_as
from support.eventually import eventually
from support.identity_provider import (
    AUDIENCE,
    FOREIGN_KEY,
    ISSUER,
    PRIVATE_KEYS,
    forge_token,
    identity_provider,
    jwk_set,
    public_jwk,
    public_pem,
    sign_token,
    sign_with_ed25519,
)
from support.in_process import InProcessDaemon, running_daemon
from support.processes import chatd_process
from support.requests import assert_problem, fill_path, is_stream, open_stream, operations
from support.scheduling_delay import measure_scheduling_delay

CHATS = "/api/v1/chats"


def jwt_auth(jwks: str, **more: Any) -> dict[str, Any]:
    return {"mode": "jwt", "jwks": jwks, "issuer": ISSUER, "audience": AUDIENCE, **more}


@pytest.fixture
def jwks(tmp_path: Path) -> str:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(jwk_set()))
    return str(file)


async def status_of(chatd: InProcessDaemon, token: str) -> int:
    return (await get_as(chatd, CHATS, bearer(token))).status_code


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


async def test_all_keys_that_fit_are_tried(dsn: str, tmp_path: Path) -> None:
    other = {**public_jwk("rsa"), **json.loads(RSAAlgorithm.to_jwk(FOREIGN_KEY.public_key()))}
    ed = sign_with_ed25519({"alg": "Ed25519", "kid": "ed"})
    for kid in ("same", None):
        keys = [
            {**key, "kid": kid} for key in (public_jwk("rsa"), other, public_jwk("ed", alg="EdDSA"))
        ]
        for ordered in (keys, keys[::-1]):
            file = tmp_path / "jwks.json"
            file.write_text(json.dumps({"keys": ordered}))
            async with running_daemon(dsn, auth=jwt_auth(str(file))) as chatd:
                for token in (
                    sign_token(kid=kid),
                    sign_token(kid=kid, key=FOREIGN_KEY),
                    sign_token("ed", kid=kid),
                    sign_with_ed25519({"alg": "Ed25519", **({"kid": kid} if kid else {})}),
                ):
                    assert await status_of(chatd, token) == 200
                assert await status_of(chatd, sign_token("p256", kid=kid)) == 401
                assert await status_of(chatd, ed) == 401, "no key has this id"


async def test_key_verifies_only_its_own_algorithms_and_use(dsn: str, tmp_path: Path) -> None:
    small = {"keys": [{**public_jwk("p256"), "kid": None}]}
    oct_key = {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "oct"}
    for keys, good, bad in (
        ([public_jwk("rsa", alg="RS512")], [sign_token(algorithm="RS512")], [sign_token()]),
        ([public_jwk("rsa", use="enc"), public_jwk("ed")], [sign_token("ed")], [sign_token()]),
        (
            [
                oct_key,
                "?",
                {},
                public_jwk("rsa", alg=["RS256"]),
                public_jwk("ed", kid=["a"]),
                public_jwk("ed"),
            ],
            [sign_token("ed")],
            [sign_token()],
        ),
        (
            small["keys"],
            [sign_token("p256", kid=None)],
            [sign_token("p256"), sign_token("ed", kid=None)],
        ),
    ):
        file = tmp_path / "jwks.json"
        file.write_text(json.dumps({"keys": keys}))
        async with running_daemon(dsn, auth=jwt_auth(str(file))) as chatd:
            assert [await status_of(chatd, token) for token in good] == [200] * len(good)
            assert [await status_of(chatd, token) for token in bad] == [401] * len(bad)
            secret = forge_token({"alg": "HS256", "kid": "oct"}, b"secretsecretsecretsecretsecret")
            assert await status_of(chatd, secret) == 401


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
            ends = await asyncio.gather(*(ended(path, short) for path in streams))
            if None not in ends:
                break
        assert all(end and until - 0.1 < end < until + 1 + busy.total for end in ends)
        assert_problem(await get_as(chatd, CHATS, short), 401, "unauthorized", "expired")
        assert not any(task.done() for task in open_streams)
        for task in open_streams:
            task.cancel()
        await asyncio.wait(open_streams)


async def test_key_set_is_fetched_again_for_an_unknown_key(dsn: str) -> None:
    async with identity_provider() as idp:
        idp.document = jwk_set("rsa")
        async with running_daemon(dsn, auth=jwt_auth(idp.url)) as chatd:
            for _ in range(20):
                assert await status_of(chatd, sign_token()) == 200
            assert idp.request_count == 2, "at startup, and by the loop"
            keys: Any = chatd.daemon.actors.auth.authenticator._jwks  # type: ignore[attr-defined]
            keys._refreshed_at = float("-inf")  # the pause between two readings is over
            idp.document = jwk_set("rsa", "ed")
            answers = await asyncio.gather(*(status_of(chatd, sign_token("ed")) for _ in range(20)))
            assert set(answers) == {200}
            assert idp.request_count == 3
            for n in range(20):
                assert await status_of(chatd, sign_token(kid=f"new {n}")) == 401
            assert idp.request_count == 3, "unknown keys must not flood the provider with requests"
            keys._refreshed_at = float("-inf")
            idp.document = None
            assert await status_of(chatd, sign_token(kid="new")) == 503
            assert idp.request_count == 4
            assert await status_of(chatd, sign_token("ed")) == 200, "the last keys stay in use"
            idp.document = jwk_set("ed")
            await keys.refresh()
            assert await status_of(chatd, sign_token("ed")) == 200
            assert await status_of(chatd, sign_token()) == 401, "this key was withdrawn"


async def test_key_set_url_may_be_unavailable_at_startup(dsn: str) -> None:
    async with identity_provider() as idp:
        idp.document = None
        async with running_daemon(dsn, auth=jwt_auth(idp.url)) as chatd:
            answer = await get_as(chatd, CHATS, bearer(sign_token()))
            assert_problem(answer, 503, "jwks_unavailable")
            assert (await chatd.api.http.get("/readyz")).status_code == 200
            for nonsense in ([], {"keys": []}, {"keys": [{"kty": "oct", "k": "AA"}]}):
                idp.document = nonsense
                assert_problem(
                    await get_as(chatd, CHATS, bearer(sign_token())), 503, "jwks_unavailable"
                )
            idp.document = jwk_set()

            async def back() -> bool:
                return await status_of(chatd, sign_token()) == 200

            await eventually(back)


@pytest.mark.parametrize("text", [None, "{", "[]", '{"keys": []}'])
async def test_invalid_key_set_file_fails_startup(
    dsn: str, tmp_path: Path, text: str | None
) -> None:
    file = tmp_path / "jwks.json"
    if text is not None:
        file.write_text(text)
    auth = "\n".join(f'{name} = "{value}"' for name, value in jwt_auth(str(file)).items())
    with chatd_process(tmp_path, dsn, settings=f"[auth]\n{auth}\n") as process:
        assert await process.wait_for_exit() == 78
        assert f"auth.jwks: cannot read {file}" in "".join(process.raw_lines)
