"""An identity provider: keys, what it signs with them, and where its key set can be fetched."""

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

PRIVATE: Mapping[str, Any] = {
    "rsa": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "ed": ed25519.Ed25519PrivateKey.generate(),
}
"""Keys by their names."""

USUAL = {"rsa": "RS256", "p256": "ES256", "p384": "ES384", "ed": "EdDSA"}
"""The algorithm that each is used with."""

OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
"""Somebody else's."""

_MAKERS = {"rsa": RSAAlgorithm, "p256": ECAlgorithm, "p384": ECAlgorithm, "ed": OKPAlgorithm}


def public(name: str, **more: Any) -> dict[str, Any]:
    """A key as it stands in a key set."""
    jwk = json.loads(_MAKERS[name].to_jwk(PRIVATE[name].public_key()))
    return {**jwk, "kid": name, "use": "sig", **more}


def pem(name: str) -> bytes:
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(PRIVATE[name].public_key().public_bytes(encoding, form))


def key_set(*names: str) -> dict[str, Any]:
    return {"keys": [public(name) for name in names or PRIVATE]}


def claims(**more: Any) -> dict[str, Any]:
    """What is said of Ann; None leaves a claim out."""
    now = int(time.time())
    said = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "iat": now, "exp": now + 600, **more}
    return {name: value for name, value in said.items() if value is not None}


def signed(
    name: str = "rsa",
    *,
    algorithm: str | None = None,
    key: Any = None,
    kid: str | None = "",
    **more: Any,
) -> str:
    """A token, right in all that is not given otherwise."""
    headers = {} if kid is None else {"kid": kid or name}
    return jwt.encode(
        claims(**more), key or PRIVATE[name], algorithm or USUAL[name], headers=headers
    )


def forged(header: Mapping[str, Any], secret: bytes | None = None, **more: Any) -> str:
    """A token of any header, with an HMAC of ``secret`` as its signature, or none."""
    text = ".".join(_spelt(json.dumps(one).encode()) for one in (header, claims(**more)))
    mac = b"" if secret is None else hmac.digest(secret, text.encode(), "sha256")
    return f"{text}.{_spelt(mac)}"


def _spelt(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Provider:
    """Serves ``document``, and counts how often; None: it answers 500."""

    def __init__(self) -> None:
        self.document: Any = key_set()
        self.asked = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        status = "200 OK" if self.document is not None else "500 Out of order"
        body = json.dumps(self.document).encode()
        head = f"HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def provider() -> AsyncIterator[Provider]:
    """A provider on this machine."""
    one = Provider()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks"
    async with server:
        yield one
