"""Authentication, built as ``auth.mode`` says."""

from dataclasses import dataclass

from chatd.api.auth.identity import AnonymousAuthenticator, Authenticator
from chatd.api.auth.tokens import TokenAuthenticator
from chatd.settings.sections import AuthSettings
from chatd.store.database import Database
from chatd.store.tokens import Tokens
from chatd.supervision.child import StartFunction


@dataclass(frozen=True, slots=True)
class AuthActor:
    """An authenticator, and the actor that keeps its keys or tokens current, if it needs one."""

    authenticator: Authenticator
    run: StartFunction | None = None


def build_auth(auth: AuthSettings, database: Database) -> AuthActor:
    """Build the authenticator of ``auth.mode``."""
    match auth.mode:
        case "none":
            return AuthActor(AnonymousAuthenticator())
        case "token":
            tokens = TokenAuthenticator(Tokens(database))
            return AuthActor(tokens, tokens.run)
        case "jwt":
            # Only this mode pays for importing cryptography.
            from chatd.api.auth.jwks import JwksClient  # noqa: PLC0415
            from chatd.api.auth.jwt import JwtAuthenticator  # noqa: PLC0415

            jwts = JwtAuthenticator(
                JwksClient(auth.jwks or ""),
                issuer=auth.issuer or "",
                audience=auth.audience or "",
                owner_claim=auth.owner_claim,
                scope_claim=auth.scope_claim,
            )
            return AuthActor(jwts, jwts.run)
