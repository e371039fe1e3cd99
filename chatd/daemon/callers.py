"""Who lets callers in, made from the settings, and the actor it needs for that."""

from collections.abc import Sequence
from dataclasses import dataclass

from chatd.api.auth import Anyone, Gatekeeper
from chatd.api.doorkeeper import Doorkeeper
from chatd.settings import Settings
from chatd.store.pool import Database
from chatd.store.tokens import Tokens
from chatd.supervision.actor import ChildSpec


@dataclass(frozen=True, slots=True)
class Callers:
    """Who lets callers in; ``specs`` are its children, which start before the first caller comes."""

    keeper: Gatekeeper
    specs: Sequence[ChildSpec] = ()


def make_callers(settings: Settings, database: Database) -> Callers:
    """As ``auth.mode`` says."""
    match settings.auth.mode:
        case "none":
            return Callers(Anyone())
        case "token":
            doorkeeper = Doorkeeper(Tokens(database))
            return Callers(doorkeeper, [ChildSpec(name="doorkeeper", start=doorkeeper.run)])
        case "jwt":
            from chatd.api.jwts import Jwts  # noqa: PLC0415 (only this mode pays for cryptography)
            from chatd.api.key_set import KeySet  # noqa: PLC0415

            given = settings.auth
            jwts = Jwts(
                KeySet(given.jwks or ""),
                issuer=given.issuer or "",
                audience=given.audience or "",
                owner_claim=given.owner_claim,
                admin_claim=given.admin_claim,
            )
            return Callers(jwts, [ChildSpec(name="doorkeeper", start=jwts.run)])
