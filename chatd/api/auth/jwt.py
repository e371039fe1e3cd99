"""Authentication by JSON Web Tokens of an identity provider."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import anyio
import jwt
import structlog

from chatd.api.auth.identity import NO_CREDENTIAL_DETAIL, Grant, Identity, unauthorized
from chatd.api.auth.jwks import ALGORITHMS, JwksClient, JwksUnavailable, VerificationKey
from chatd.api.errors.problems import HttpProblem
from chatd.domain.access_scope import OWN_CHATS, AccessScope, known_scopes
from chatd.domain.owner import is_valid_owner
from chatd.supervision.child import ChildHandle

_log = structlog.get_logger()

_CLOCK_SKEW_SECONDS = 3.0
"""Tolerated lead of the provider's clock: a token issued just now must not be rejected as not valid yet."""

_MAX_LIFETIME_SECONDS = 10 * 365 * 86_400.0
"""Bound on a token's remaining lifetime, so that timers get a number they can handle."""

_ALLOWED_ALGORITHMS = frozenset(name for names in ALGORITHMS.values() for name in names)
_DECODER = jwt.PyJWT(options={"enforce_minimum_key_length": True})
if "Ed25519" not in jwt.algorithms.get_default_algorithms():
    _DECODER._jws.register_algorithm("Ed25519", jwt.algorithms.OKPAlgorithm())  # noqa: SLF001

_REASONS: Mapping[type[Exception], str] = {
    jwt.ExpiredSignatureError: "it has expired",
    jwt.ImmatureSignatureError: "it is not valid yet",
    jwt.InvalidAudienceError: "it is for another audience",
    jwt.InvalidIssuerError: "it is from another issuer",
    jwt.MissingRequiredClaimError: "a claim is missing",
    jwt.InvalidAlgorithmError: "its algorithm does not fit its key",
    jwt.InvalidSignatureError: "its signature is wrong",
}


class JwtAuthenticator:
    """Authenticator for JWTs that a trusted ``issuer`` signed for this ``audience``.

    ``owner_claim`` is the claim with the owner's name. ``scope_claim`` is the one with the scopes: a list,
    or a text with spaces between. A JWT that names no scope has ``chats``.
    """

    def __init__(
        self,
        jwks: JwksClient,
        *,
        issuer: str,
        audience: str,
        owner_claim: str,
        scope_claim: str | None,
    ) -> None:
        self._jwks = jwks
        self._issuer = issuer
        self._audience = audience
        self._owner_claim = owner_claim
        self._scope_claim = scope_claim

    async def authenticate(self, credential: str | None) -> Grant:
        """Return the grant of a JWT, valid until the JWT expires. Raises ``HttpProblem`` (401, 503)."""
        if credential is None:
            raise unauthorized(NO_CREDENTIAL_DETAIL)
        claims = self._verified_claims(credential, await self._candidates(credential))
        owner_id = claims.get(self._owner_claim)
        if not is_valid_owner(owner_id):
            raise _invalid_jwt(f"its claim {self._owner_claim} names no owner")
        lifetime = min(float(min(int(claims["exp"]), 2**53)) - time.time(), _MAX_LIFETIME_SECONDS)
        if lifetime <= 0:
            raise _invalid_jwt(_REASONS[jwt.ExpiredSignatureError])
        named = None if self._scope_claim is None else claims.get(self._scope_claim)
        identity = Identity.of_credential(owner_id, _scopes(named))
        return Grant(identity=identity, expires_at=anyio.current_time() + lifetime)

    async def run(self, child: ChildHandle) -> None:
        await self._jwks.run(child)

    async def _candidates(self, credential: str) -> Sequence[VerificationKey]:
        """Return the keys that fit the token's header, which is not verified yet."""
        try:
            header = jwt.get_unverified_header(credential)
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise _invalid_jwt("it cannot be read") from None
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in _ALLOWED_ALGORITHMS:
            raise _invalid_jwt("its algorithm is not allowed")
        try:
            keys = await self._jwks.keys(header.get("kid"))
        except JwksUnavailable as error:
            _log.warning("auth.jwks_unavailable", error=str(error))
            raise HttpProblem(
                "jwks_unavailable",
                "The identity provider's key set is temporarily unavailable; try again.",
            ) from error
        if not keys:
            raise _invalid_jwt("its key is unknown")
        fitting = [key for key in keys if algorithm in key.algorithms]
        if not fitting:
            raise _invalid_jwt(_REASONS[jwt.InvalidAlgorithmError])
        return fitting

    def _verified_claims(
        self, credential: str, candidates: Sequence[VerificationKey]
    ) -> Mapping[str, Any]:
        """Return the claims, verified with the first key whose signature it is."""
        *others, last = candidates
        for key in others:
            with suppress(jwt.InvalidSignatureError):
                return self._claims_verified_with(key, credential)
        try:
            return self._claims_verified_with(last, credential)
        except jwt.InvalidSignatureError as error:
            raise _invalid_jwt(_REASONS[type(error)]) from None

    def _claims_verified_with(self, key: VerificationKey, credential: str) -> Mapping[str, Any]:
        """Return the claims. Raises ``HttpProblem`` (401), and ``InvalidSignatureError``."""
        try:
            claims: Mapping[str, Any] = _DECODER.decode(
                credential,
                key.material,
                algorithms=list(key.algorithms),
                audience=self._audience,
                issuer=self._issuer,
                leeway=_CLOCK_SKEW_SECONDS,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.InvalidSignatureError:
            raise
        except (jwt.PyJWTError, ValueError, OverflowError, RecursionError) as error:
            raise _invalid_jwt(_REASONS.get(type(error), "it cannot be read")) from None
        return claims


def _scopes(claim: object) -> frozenset[AccessScope]:
    """Return the scopes that a claim names, or ``chats`` if it names none."""
    names = claim.split(" ") if isinstance(claim, str) else claim
    texts = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return known_scopes(texts) or OWN_CHATS


def _invalid_jwt(reason: str) -> HttpProblem:
    return unauthorized(f"This JWT is not valid: {reason}.")
