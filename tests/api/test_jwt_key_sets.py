"""The key set by which JWTs are verified: its keys, and where it comes from."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from jwt.algorithms import RSAAlgorithm
from support.auth import bearer, get_as
from support.eventually import eventually
from support.identity_provider import (
    FOREIGN_KEY,
    forge_token,
    identity_provider,
    jwk_set,
    public_jwk,
    sign_token,
    sign_with_ed25519,
)
from support.in_process import running_daemon
from support.jwt_auth import CHATS, jwt_auth, status_of
from support.processes import chatd_process
from support.requests import assert_problem


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
