"""Access tokens for MCP servers that know chatd as a client of OAuth."""

import base64
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from structlog.testing import capture_logs
from support.mcp_http_server import (
    ChosenAnswers,
    Request,
    chosen_answers,
    ordinary,
    response,
    running_at,
)

from chatd.tools.mcp.config import ClientCredentials
from chatd.tools.mcp.keys import signing_algorithm

SECRET = "a secret/with+signs"
TOKEN = "the-token"
BASIC = base64.b64encode(b"chatd:a%20secret%2Fwith%2Bsigns").decode()


class Protected:
    """MCP server and authorization server in one. ``changes`` replace what they say of themselves."""

    def __init__(self, **changes: Any) -> None:
        self.changes = changes
        self.origin = ""

    def answer(self, request: Request) -> bytes:
        """Answer any request. Those to the MCP server need the token."""
        origin = self.origin
        match request.method, request.target:
            case "GET", "/.well-known/oauth-protected-resource/mcp":
                resource = {"resource": f"{origin}/mcp", "authorization_servers": [origin]}
                return self._json(resource, "authorization_servers")
            case "GET", "/.well-known/oauth-authorization-server":
                metadata = {
                    "issuer": origin,
                    "authorization_endpoint": f"{origin}/authorize",
                    "token_endpoint": f"{origin}/token",
                    "response_types_supported": ["code"],
                }
                return self._json(metadata, "issuer")
            case "POST", "/token":
                status = self.changes.get("status", 200)
                body = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600}
                return response(status, json.dumps(body if status == 200 else {}).encode())
            case _, "/mcp" if request.headers.get("authorization") == f"Bearer {TOKEN}":
                return ordinary(request)
            case _, "/mcp":
                described = self.changes.get("described")
                header = f'WWW-Authenticate: Bearer resource_metadata="{described}"\r\n'
                return response(401, b"", headers=header if described else "")
            case _:
                return response(404, b"")

    def _json(self, value: dict[str, Any], *changeable: str) -> bytes:
        changed = {key: self.changes[key] for key in changeable if key in self.changes}
        return response(200, json.dumps(value | changed).encode())


async def connected(
    protected: Protected, *, issuer: Callable[[str], str] = str, **credentials: Any
) -> tuple[ChosenAnswers, str | None]:
    """Connect to a server, make a call, and return the server and why it is unavailable."""
    async with chosen_answers(protected.answer) as server:
        protected.origin = server.url.removesuffix("/mcp")
        config = ClientCredentials(
            client_id="chatd", issuer=issuer(protected.origin), **credentials
        )
        async with running_at(server.url, credentials=config) as mcp:
            await mcp.tools()
            if mcp.absence is None:
                assert (await mcp.call("t", {}, seconds=10)).text == "done"
            return server, mcp.absence


def tokens_asked(server: ChosenAnswers) -> list[Request]:
    return [request for request in server.requests if request.target == "/token"]


async def test_client_gets_one_token_with_its_secret_and_uses_it_for_all_requests() -> None:
    with capture_logs() as logs:
        server, absence = await connected(Protected(), secret=SECRET, scope="read")
    assert absence is None
    [request] = tokens_asked(server)
    assert request.headers["authorization"] == f"Basic {BASIC}"
    assert request.message == {
        "grant_type": "client_credentials",
        "scope": "read",
        "resource": server.url,
    }
    assert SECRET not in str(logs)
    assert TOKEN not in str(logs)


async def test_client_signs_an_assertion_for_the_issuer_with_its_key() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    server, absence = await connected(Protected(), private_key=pem(key))
    assert absence is None
    [request] = tokens_asked(server)
    issuer = server.url.removesuffix("/mcp")
    claims = jwt.decode(
        request.message["client_assertion"], key.public_key(), ["ES256"], audience=issuer
    )
    assert (claims["iss"], claims["sub"]) == ("chatd", "chatd")
    assert "authorization" not in request.headers


def pem(key: Any) -> str:
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return bytes(text).decode()


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (rsa.generate_private_key(65537, 2048), "RS256"),
        (ec.generate_private_key(ec.SECP384R1()), "ES384"),
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
    ],
)
def test_algorithm_is_that_of_the_key(key: Any, algorithm: str) -> None:
    assert signing_algorithm(pem(key)) == algorithm


async def test_no_other_authorization_server_gets_the_secret() -> None:
    other = "https://login.example.com"
    server, absence = await connected(Protected(), issuer=lambda _: other, secret=SECRET)
    assert absence == (
        "MCP server srv is not available: its authorization server is not oauth_issuer, "
        "or does not describe itself"
    )
    assert not tokens_asked(server)
    assert not [request for request in server.requests if "basic" in str(request.headers).lower()]


async def test_server_does_not_make_chatd_read_from_other_hosts() -> None:
    async with chosen_answers(ordinary) as elsewhere:
        protected = Protected(described=elsewhere.url)
        _, absence = await connected(protected, secret=SECRET)
        assert absence == (
            "MCP server srv is not available: it describes its authorization at an address of others"
        )
        assert not elsewhere.requests


async def test_refusal_of_the_authorization_server_is_told() -> None:
    server, absence = await connected(Protected(status=401), secret=SECRET)
    assert absence == (
        "MCP server srv is not available: its authorization server answered with status 401"
    )
    assert tokens_asked(server)


async def test_key_that_is_none_is_a_failure_like_any_other() -> None:
    _, absence = await connected(Protected(), private_key="no key")
    assert absence == "MCP server srv is not available: its private key cannot be used"
