"""Callers whom an identity provider vouches for, with JSON Web Tokens."""

import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import anyio
import jwt
import structlog

from chatd.api.auth.identity import UNAUTHENTICATED_DETAIL, Grant, Identity, unauthorized
from chatd.api.auth.jwks import ALGORITHMS, JwksClient, JwksUnavailable, VerificationKey
from chatd.api.errors.problems import HttpProblem
from chatd.domain.owner import is_valid_owner
from chatd.supervision.child import ChildHandle

_log = structlog.get_logger()

_CLOCK_SKEW_SECONDS = 3.0
"""How far the provider's clock may be ahead: no token is refused for having been made in the future."""

_MAX_LIFETIME_SECONDS = 10 * 365 * 86_400.0
"""A moment that is further away than this is as good as none."""

_ALLOWED_ALGORITHMS = frozenset(name for names in ALGORITHMS.values() for name in names)
_DECODER = jwt.PyJWT(options={"enforce_minimum_key_length": True})

_REASONS: Mapping[type[Exception], str] = {
    jwt.ExpiredSignatureError: "it has expired",
    jwt.ImmatureSignatureError: "it is not valid yet",
    jwt.InvalidAudienceError: "it is for another audience",
    jwt.InvalidIssuerError: "it is of another issuer",
    jwt.MissingRequiredClaimError: "a claim is missing",
    jwt.InvalidAlgorithmError: "its algorithm is not one of its key",
    jwt.InvalidSignatureError: "its signature is wrong",
}


class JwtAuthenticator:
    """Knows callers by what a trusted ``issuer`` says of them to this ``audience``.

    ``owner_claim`` names the owner. Who has ``admin_claim`` as true is an admin (None: nobody is).
    """

    def __init__(
        self,
        jwks: JwksClient,
        *,
        issuer: str,
        audience: str,
        owner_claim: str = "sub",
        admin_claim: str | None = None,
    ) -> None:
        self._jwks = jwks
        self._issuer = issuer
        self._audience = audience
        self._owner_claim = owner_claim
        self._admin_claim = admin_claim

    async def authenticate(self, credential: str | None) -> Grant:
        """The pass of a JWT, good until it expires. Raises ``HttpProblem`` (401, 503)."""
        if credential is None:
            raise unauthorized(UNAUTHENTICATED_DETAIL)
        claims = self._verified_claims(credential, await self._signing_key(credential))
        owner_id = claims.get(self._owner_claim)
        if not is_valid_owner(owner_id):
            raise _invalid_jwt(f"its claim {self._owner_claim} names no owner")
        left = min(float(min(int(claims["exp"]), 2**53)) - time.time(), _MAX_LIFETIME_SECONDS)
        if left <= 0:
            raise _invalid_jwt(_REASONS[jwt.ExpiredSignatureError])
        admin = self._admin_claim is not None and claims.get(self._admin_claim) is True
        return Grant(identity=Identity(owner_id, admin), expires_at=anyio.current_time() + left)

    async def run(self, child: ChildHandle) -> None:
        await self._jwks.run(child)

    async def _signing_key(self, credential: str) -> VerificationKey:
        """The key that the token says it was signed with; nothing it says is believed yet."""
        try:
            header = jwt.get_unverified_header(credential)
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise _invalid_jwt("it cannot be read") from None
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in _ALLOWED_ALGORITHMS:
            raise _invalid_jwt("its algorithm is not allowed")
        try:
            key = await self._jwks.key(header.get("kid"))
        except JwksUnavailable as error:
            _log.warning("auth.jwks_unavailable", error=str(error))
            raise HttpProblem(
                "jwks_unavailable",
                "The key set of the identity provider cannot be read just now; try again.",
                HTTPStatus.SERVICE_UNAVAILABLE,
                headers={"retry-after": "1"},
            ) from error
        if key is None:
            raise _invalid_jwt("its key is unknown")
        return key

    def _verified_claims(self, credential: str, key: VerificationKey) -> Mapping[str, Any]:
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
        except (jwt.PyJWTError, ValueError, OverflowError, RecursionError) as error:
            raise _invalid_jwt(_REASONS.get(type(error), "it cannot be read")) from None
        return claims


def _invalid_jwt(reason: str) -> HttpProblem:
    return unauthorized(f"This JWT is not valid: {reason}.")
