"""Callers with JWTs: who is believed, and who is not."""

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from asking import filled, is_stream, opened, operations, refused
from callers import bearer, created, got
from inside import Inside, one
from provider_of_identity import (
    AUDIENCE,
    ISSUER,
    OTHER,
    PRIVATE,
    forged,
    key_set,
    pem,
    provider,
    public,
    signed,
)
from running import fact, machine, started

CHATS = "/api/v1/chats"


def trusting(jwks: str, **more: Any) -> dict[str, Any]:
    return {"mode": "jwt", "jwks": jwks, "issuer": ISSUER, "audience": AUDIENCE, **more}


@pytest.fixture
def jwks(tmp_path: Path) -> str:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(key_set()))
    return str(file)


async def status_of(chatd: Inside, token: str) -> int:
    return (await got(chatd, CHATS, bearer(token))).status_code


RSA_MORE = ("RS384", "RS512", "PS256", "PS384", "PS512")


async def test_who_is_believed(dsn: str, jwks: str) -> None:
    async with one(dsn, auth=trusting(jwks)) as chatd:
        tokens = [signed(name) for name in PRIVATE]
        tokens += [signed(algorithm=algorithm) for algorithm in RSA_MORE]
        tokens += [signed(aud=["other", AUDIENCE]), signed(nbf=int(time.time()))]
        tokens += [signed(iat=int(time.time()) + 1), signed(exp=2**70)]
        for token in tokens:
            chat = await created(chatd, bearer(token))
            assert chat["owner_id"] == "ann"
        bob = bearer(signed(sub="bob"))
        refused(await got(chatd, f"{CHATS}/{chat['id']}", bob), 404, "chat_not_found")


def wrong() -> Mapping[str, tuple[str, str]]:
    """What nobody believes, and the words that say why."""
    now = int(time.time())
    rsa, head = signed(), {"alg": "HS256", "typ": "JWT", "kid": "rsa"}
    made, payload, signature = rsa.split(".")
    other_payload = signed(sub="boss").split(".")[1]
    modulus = public("rsa")["n"].encode()
    return {
        "signed by another": (signed(key=OTHER), "signature"),
        "another's words": (f"{made}.{other_payload}.{signature}", "signature"),
        "no signature": (f"{made}.{payload}.", "signature"),
        "another key's name": (signed("rsa", kid="p256"), "algorithm"),
        "an algorithm of another curve": (signed("p384", kid="p256"), "algorithm"),
        "an unknown key": (signed(kid="new"), "its key is unknown"),
        "no name of a key": (signed(kid=None), "its key is unknown"),
        "none": (forged({**head, "alg": "none"}), "algorithm is not allowed"),
        "None": (forged({**head, "alg": "None"}), "algorithm is not allowed"),
        "a list of algorithms": (
            forged({**head, "alg": ["RS256"]}, b"x"),
            "algorithm is not allowed",
        ),
        "an object as algorithm": (
            forged({**head, "alg": {"RS256": 1}}, b"x"),
            "algorithm is not allowed",
        ),
        "no algorithm": (forged({"typ": "JWT", "kid": "rsa"}), "not valid"),
        "HMAC of the PEM": (forged(head, pem("rsa")), "algorithm is not allowed"),
        "HMAC of the modulus": (forged(head, modulus), "algorithm is not allowed"),
        "HMAC of nothing": (forged(head, b""), "algorithm is not allowed"),
        "HMAC, said to be RSA": (forged({**head, "alg": "RS256"}, pem("rsa")), "signature"),
        "a key of its own": (
            forged({**head, "alg": "RS256", "jwk": public("rsa"), "jku": "http://evil/"}, b"x"),
            "signature",
        ),
        "expired": (signed(exp=now - 60), "expired"),
        "expired just now": (signed(exp=now), "expired"),
        "not valid yet": (signed(nbf=now + 60), "not valid yet"),
        "made in the future": (signed(iat=now + 60), "not valid yet"),
        "without an end": (signed(exp=None), "claim is missing"),
        "another audience": (signed(aud="other"), "audience"),
        "no audience": (signed(aud=None), "claim is missing"),
        "another issuer": (signed(iss="https://evil.example.com/"), "issuer"),
        "issuer but for a slash": (signed(iss=ISSUER.rstrip("/")), "issuer"),
        "no issuer": (signed(iss=None), "claim is missing"),
        "no owner": (signed(sub=None), "names no owner"),
        "an empty owner": (signed(sub=""), "names no owner"),
        "an owner that no header can name": (signed(sub=" ann"), "names no owner"),
        "an owner of two lines": (signed(sub="an\nn"), "names no owner"),
        "an endless owner": (signed(sub=256 * "a"), "names no owner"),
        "an endless end": (signed(exp=float("inf")), "not valid"),
        "an owner that cannot be stored": (signed(sub="an\x00n"), "names no owner"),
        "half a character": (signed(sub="a\ud800"), "names no owner"),
        "an end that is no number": (signed(exp="soon"), "not valid"),
        "endless": (forged({**head, "alg": "RS256"}, exp=float("inf")), "not valid"),
        "nothing": ("a.b.c", "cannot be read"),
        "dots": ("..", "cannot be read"),
        "a chatd token": ("chatd_" + "A" * 43, "cannot be read"),
        "a nest": ("W1tb" * 9000 + ".e30.e30", "cannot be read"),
        "encrypted": ("a.b.c.d.e", "cannot be read"),
    }


async def test_who_is_not_believed(dsn: str, jwks: str) -> None:
    async with one(dsn, auth=trusting(jwks)) as chatd:
        assert await status_of(chatd, signed()) == 200
        for what, (token, why) in wrong().items():
            answer = await got(chatd, CHATS, bearer(token))
            assert answer.status_code == 401, (what, answer.text)
            refused(answer, 401, "unauthorized", why)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert token not in answer.text
        refused(await chatd.api.http.get(CHATS), 401, "unauthorized")
        assert not chatd.said("http.unexpected")


async def test_a_key_verifies_what_it_is_for_and_nothing_else(dsn: str, tmp_path: Path) -> None:
    small = {"keys": [{**public("p256"), "kid": None}]}
    oct_key = {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "oct"}
    for keys, good, bad in (
        ([public("rsa", alg="RS512")], [signed(algorithm="RS512")], [signed()]),
        ([public("rsa", use="enc"), public("ed")], [signed("ed")], [signed()]),
        (
            [oct_key, "?", {}, public("rsa", alg=["RS256"]), public("ed", kid=["a"]), public("ed")],
            [signed("ed")],
            [signed()],
        ),
        (small["keys"], [signed("p256", kid=None)], [signed("p256"), signed("ed", kid=None)]),
    ):
        file = tmp_path / "jwks.json"
        file.write_text(json.dumps({"keys": keys}))
        async with one(dsn, auth=trusting(str(file))) as chatd:
            assert [await status_of(chatd, token) for token in good] == [200] * len(good)
            assert [await status_of(chatd, token) for token in bad] == [401] * len(bad)
            secret = forged({"alg": "HS256", "kid": "oct"}, b"secretsecretsecretsecretsecret")
            assert await status_of(chatd, secret) == 401


async def test_owner_and_admin_are_claims_that_are_configured(dsn: str, jwks: str) -> None:
    given = trusting(jwks, owner_claim="tenant", admin_claim="chatd_admin")
    async with one(dsn, auth=given) as chatd:
        ann = bearer(signed(tenant="ann", sub="x"))
        chat = await created(chatd, ann)
        assert chat["owner_id"] == "ann"
        refused(await got(chatd, CHATS, bearer(signed())), 401, "unauthorized", "tenant")
        path = f"{CHATS}/{chat['id']}"
        for claim in (False, "true", 1, ["true"], {}):
            almost = bearer(signed(tenant="bob", chatd_admin=claim))
            refused(await got(chatd, path, almost), 404, "chat_not_found")
        boss = bearer(signed(tenant="boss", chatd_admin=True))
        assert (await got(chatd, path, boss)).json() == chat
        for_ann = boss | {"x-chatd-owner": "ann"}
        assert (await got(chatd, CHATS, for_ann)).json()["items"] == [chat]
    async with one(dsn, auth=trusting(jwks, owner_claim="tenant")) as chatd:
        refused(await got(chatd, path, boss), 404, "chat_not_found")


async def test_streams_end_when_the_token_expires(dsn: str, jwks: str) -> None:
    streams = [path for _, path, operation in operations() if is_stream(operation)]
    async with one(dsn, auth=trusting(jwks)) as chatd, machine() as busy:
        chat = (await created(chatd, bearer(signed())))["id"]

        async def ended(path: str, headers: Any) -> float | None:
            async with opened(chatd, filled(path, chat), headers=headers) as stream:
                if stream.status_code == 401:  # it came too late
                    return None
                assert stream.status_code == 200
                async for _ in stream.aiter_lines():
                    pass
            return time.time()

        long = bearer(signed())
        stays = [asyncio.create_task(ended(path, long)) for path in streams]
        for life in (3, 6, 12):
            until = int(time.time()) + life
            short = bearer(signed(exp=until))
            ends = await asyncio.gather(*(ended(path, short) for path in streams))
            if None not in ends:
                break
        assert all(end and until - 0.1 < end < until + 1 + busy.late for end in ends)
        refused(await got(chatd, CHATS, short), 401, "unauthorized", "expired")
        assert not any(task.done() for task in stays)
        for task in stays:
            task.cancel()
        await asyncio.wait(stays)


async def test_keys_are_fetched_once_and_again_for_a_new_key(dsn: str) -> None:
    async with provider() as idp:
        idp.document = key_set("rsa")
        async with one(dsn, auth=trusting(idp.url)) as chatd:
            for _ in range(20):
                assert await status_of(chatd, signed()) == 200
            assert idp.asked == 2, "at the start, and by the loop"
            keys: Any = chatd.daemon._auth.authenticator._keys  # type: ignore[attr-defined]
            keys._read_at = float("-inf")  # the pause between two readings is over
            idp.document = key_set("rsa", "ed")
            answers = await asyncio.gather(*(status_of(chatd, signed("ed")) for _ in range(20)))
            assert set(answers) == {200}
            assert idp.asked == 3
            for n in range(20):
                assert await status_of(chatd, signed(kid=f"new {n}")) == 401
            assert idp.asked == 3, "strangers do not make us hammer the provider"
            keys._read_at = float("-inf")
            idp.document = None
            assert await status_of(chatd, signed(kid="new")) == 503
            assert idp.asked == 4
            assert await status_of(chatd, signed("ed")) == 200, "the keys we had stay"
            idp.document = key_set("ed")
            await keys.read()
            assert await status_of(chatd, signed("ed")) == 200
            assert await status_of(chatd, signed()) == 401, "this key was withdrawn"


async def test_a_provider_that_is_away_at_the_start_is_waited_for(dsn: str) -> None:
    async with provider() as idp:
        idp.document = None
        async with one(dsn, auth=trusting(idp.url)) as chatd:
            answer = await got(chatd, CHATS, bearer(signed()))
            refused(answer, 503, "jwks_unavailable")
            assert (await chatd.api.http.get("/readyz")).status_code == 200
            for nonsense in ([], {"keys": []}, {"keys": [{"kty": "oct", "k": "AA"}]}):
                idp.document = nonsense
                refused(await got(chatd, CHATS, bearer(signed())), 503, "jwks_unavailable")
            idp.document = key_set()

            async def back() -> bool:
                return await status_of(chatd, signed()) == 200

            await fact(back)


@pytest.mark.parametrize("text", [None, "{", "[]", '{"keys": []}'])
async def test_a_file_that_is_no_key_set_ends_the_start(
    dsn: str, tmp_path: Path, text: str | None
) -> None:
    file = tmp_path / "jwks.json"
    if text is not None:
        file.write_text(text)
    auth = "\n".join(f'{name} = "{value}"' for name, value in trusting(str(file)).items())
    with started(tmp_path, dsn, settings=f"[auth]\n{auth}\n") as process:
        assert await process.ended() == 78
        assert f"auth.jwks: cannot read {file}" in "".join(process.raw)
