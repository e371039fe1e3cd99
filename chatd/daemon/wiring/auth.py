"""Who lets callers in, made from the settings, and the actor it needs for that."""

from collections.abc import Sequence
from dataclasses import dataclass

from chatd.api.auth.identity import AnonymousAuthenticator, Authenticator
from chatd.api.auth.tokens import TokenAuthenticator
from chatd.settings import Settings
from chatd.store.database import Database
from chatd.store.tokens import Tokens
from chatd.supervision.child import ChildSpec


@dataclass(frozen=True, slots=True)
class AuthComponents:
    """Who lets callers in; ``child_specs`` are its children, which start before the first caller comes."""

    authenticator: Authenticator
    child_specs: Sequence[ChildSpec] = ()


def build_auth(settings: Settings, database: Database) -> AuthComponents:
    """As ``auth.mode`` says."""
    match settings.auth.mode:
        case "none":
            return AuthComponents(AnonymousAuthenticator())
        case "token":
            doorkeeper = TokenAuthenticator(Tokens(database))
            return AuthComponents(
                doorkeeper, [ChildSpec(name="authenticator", start=doorkeeper.run)]
            )
        case "jwt":
            from chatd.api.auth.jwks import JwksClient  # noqa: PLC0415
            from chatd.api.auth.jwt import JwtAuthenticator  # noqa: PLC0415 (only this mode pays for cryptography)

            given = settings.auth
            jwts = JwtAuthenticator(
                JwksClient(given.jwks or ""),
                issuer=given.issuer or "",
                audience=given.audience or "",
                owner_claim=given.owner_claim,
                admin_claim=given.admin_claim,
            )
            return AuthComponents(jwts, [ChildSpec(name="authenticator", start=jwts.run)])
