"""OAuth for a server that knows chatd as itself, not as a person. Imports the SDK: see ``connection``."""

from typing import Any

import httpx2
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from typing_extensions import override

from chatd.tools.mcp.config import HttpEndpoint
from chatd.tools.mcp.connection import ConnectionLost
from chatd.tools.mcp.keys import signing_algorithm


class _Tokens:
    """Tokens of one connection. They are kept nowhere else: a new connection asks for new ones."""

    def __init__(self) -> None:
        self._tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self._tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self._tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Keep nothing: the client is the configured one."""


class _Scoped(OAuthClientProvider):
    """Mixin that asks for the configured scopes. The SDK asks for those that the server names."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._scope = self.context.client_metadata.scope

    @override
    async def _perform_authorization(self) -> httpx2.Request:
        self.context.client_metadata.scope = self._scope or self.context.client_metadata.scope
        return await super()._perform_authorization()


class _BySecret(_Scoped, ClientCredentialsOAuthProvider):
    """Provider for a client with a secret."""


class _ByKey(_Scoped, PrivateKeyJWTOAuthProvider):
    """Provider for a client with a key that signs its assertions."""


def client_credentials_auth(endpoint: HttpEndpoint) -> httpx2.Auth | None:
    """Return what authorizes requests to a server. None: nothing is configured.

    Raise ``ConnectionLost`` if the key is of no use.
    """
    credentials = endpoint.credentials
    if credentials is None:
        return None
    options: dict[str, Any] = {
        "server_url": endpoint.url,
        "storage": _Tokens(),
        "client_id": credentials.client_id,
        "scope": credentials.scope,
        "issuer": credentials.issuer,
    }
    if not credentials.private_key:
        return _BySecret(client_secret=credentials.secret, **options)
    try:
        algorithm = signing_algorithm(credentials.private_key)
    except ValueError:
        raise ConnectionLost("its private key cannot be used") from None
    signed = SignedJWTParameters(
        issuer=credentials.client_id,
        subject=credentials.client_id,
        signing_key=credentials.private_key,
        signing_algorithm=algorithm,
    )
    return _ByKey(assertion_provider=signed.create_assertion_provider(), **options)
