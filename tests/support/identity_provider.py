"""An identity provider: its keys, the tokens that it signs, and the server of its key set."""

import asyncio
import base64
import hmac
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "https://login.example.com/"
AUDIENCE = "chatd"

PRIVATE_KEYS: Mapping[str, Any] = {
    "rsa": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "ed": ed25519.Ed25519PrivateKey.generate(),
}
"""Keys by their names."""

DEFAULT_ALGORITHMS = {"rsa": "RS256", "p256": "ES256", "p384": "ES384", "ed": "EdDSA"}
"""The algorithm that each is used with."""

FOREIGN_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
"""A key of another provider."""

_JWK_ALGORITHMS = {
    "rsa": RSAAlgorithm,
    "p256": ECAlgorithm,
    "p384": ECAlgorithm,
    "ed": OKPAlgorithm,
}


def public_jwk(name: str, **more: Any) -> dict[str, Any]:
    """Return a public key as an entry of a key set."""
    jwk = json.loads(_JWK_ALGORITHMS[name].to_jwk(PRIVATE_KEYS[name].public_key()))
    return {**jwk, "kid": name, "use": "sig", **more}


def public_pem(name: str) -> bytes:
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(PRIVATE_KEYS[name].public_key().public_bytes(encoding, form))


def jwk_set(*names: str) -> dict[str, Any]:
    return {"keys": [public_jwk(name) for name in names or PRIVATE_KEYS]}


def claims(**more: Any) -> dict[str, Any]:
    """Return the claims about Ann. None leaves a claim out."""
    now = int(time.time())
    values = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "iat": now, "exp": now + 600, **more}
    return {name: value for name, value in values.items() if value is not None}


def sign_token(
    name: str = "rsa",
    *,
    algorithm: str | None = None,
    key: Any = None,
    kid: str | None = "",
    **more: Any,
) -> str:
    """Return a token that is valid but for what the arguments change."""
    headers = {} if kid is None else {"kid": kid or name}
    return jwt.encode(
        claims(**more),
        key or PRIVATE_KEYS[name],
        algorithm or DEFAULT_ALGORITHMS[name],
        headers=headers,
    )


def forge_token(header: Mapping[str, Any], secret: bytes | None = None, **more: Any) -> str:
    """Return a token with any header, signed with an HMAC of ``secret`` or unsigned."""
    text = ".".join(
        _base64url(json.dumps(segment).encode()) for segment in (header, claims(**more))
    )
    mac = b"" if secret is None else hmac.digest(secret, text.encode(), "sha256")
    return f"{text}.{_base64url(mac)}"


def sign_with_ed25519(header: Mapping[str, Any]) -> str:
    """Return a token with this header, signed by the key ``ed``."""
    text = ".".join(_base64url(json.dumps(segment).encode()) for segment in (header, claims()))
    return f"{text}.{_base64url(PRIVATE_KEYS['ed'].sign(text.encode()))}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class IdentityProvider:
    """Server of ``document`` that counts its requests. None: it answers 500."""

    def __init__(self) -> None:
        self.document: Any = jwk_set()
        self.request_count = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.request_count += 1
        status = "200 OK" if self.document is not None else "500 Out of order"
        body = json.dumps(self.document).encode()
        head = f"HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def identity_provider() -> AsyncIterator[IdentityProvider]:
    """Start an identity provider on this machine."""
    provider = IdentityProvider()
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    provider.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks"
    async with server:
        yield provider
