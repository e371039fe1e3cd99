"""Sessions: a credential in a signed cookie, which every replica can check without asking anybody.

The signature's key is made of the credential itself and of ``console.secret``, if that is set. So
replicas share nothing by themselves, and a restart ends no session. To forge a session without the secret
takes its credential, which is all that a session has. The secret adds a way to end all sessions: to change
it.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Final

from starlette.types import Scope

from chatd.console.config import ConsoleConfig

MAX_CREDENTIAL_LENGTH: Final = 3500
"""Characters of a credential: browsers drop cookies of more than 4096."""
CSRF_HEADER: Final = "x-chatd-csrf"
_VERSION: Final = "v1"
_FIELDS: Final = 5
_KEY_LABEL: Final = b"chatd console session "


@dataclass(frozen=True, slots=True)
class Session:
    """A visitor's credential, until ``expires_at``. An empty one is of a visitor who has to sign in."""

    credential: str
    expires_at: int
    nonce: str
    key: bytes

    @property
    def csrf_token(self) -> str:
        """The token that a form or a script of this session's pages sends with each action."""
        return _mac(self.key, f"csrf {self.nonce}")

    def is_valid_token(self, token: str) -> bool:
        return hmac.compare_digest(self.csrf_token.encode(), token.encode())

    def encode(self) -> str:
        """Return the value of the cookie."""
        signed = _signed_text(self.expires_at, self.nonce)
        return f"{signed}.{_mac(self.key, f'{signed} {self.credential}')}.{self.credential}"


def begin_session(credential: str, config: ConsoleConfig, *, now: float) -> Session:
    """Return a new session. The credential is printable ASCII without what a cookie cannot hold."""
    expires_at = int(now + config.session_hours * 3600)
    return Session(
        credential, expires_at, secrets.token_urlsafe(16), _key(credential, config.secret)
    )


def read_session(scope: Scope, config: ConsoleConfig, *, now: float) -> Session | None:
    """Return the session of a request's cookie. None: it has none, or one that is over or forged."""
    value = _cookie(scope, cookie_name(scope, config))
    if value is None:
        return None
    fields = value.split(".", _FIELDS - 1)
    if len(fields) != _FIELDS or fields[0] != _VERSION or not fields[1].isdecimal():
        return None
    _, expires, nonce, mac, credential = fields
    key = _key(credential, config.secret)
    signed = _signed_text(int(expires), nonce)
    if not hmac.compare_digest(_mac(key, f"{signed} {credential}").encode(), mac.encode()):
        return None
    return Session(credential, int(expires), nonce, key) if now < int(expires) else None


def is_storable(credential: str) -> bool:
    """Return whether a cookie can hold this credential."""
    return (
        0 < len(credential) <= MAX_CREDENTIAL_LENGTH
        and credential.isascii()
        and credential.isprintable()
        and not set(credential) & set(' ",;\\')
    )


def set_cookie(session: Session, scope: Scope, config: ConsoleConfig, *, now: float) -> str:
    """Return the header that gives a browser this session."""
    return _cookie_header(session.encode(), int(session.expires_at - now), scope, config)


def clear_cookie(scope: Scope, config: ConsoleConfig) -> str:
    """Return the header by which a browser forgets its session."""
    return _cookie_header("", 0, scope, config)


def cookie_name(scope: Scope, config: ConsoleConfig) -> str:
    """Return the cookie's name. No other host of the domain can set one that begins with ``__Host-``."""
    return "__Host-chatd" if _is_secure(scope, config) else "chatd"


def _cookie_header(value: str, max_age: int, scope: Scope, config: ConsoleConfig) -> str:
    secure = "; Secure" if _is_secure(scope, config) else ""
    name = cookie_name(scope, config)
    return f"{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Strict{secure}"


def _is_secure(scope: Scope, config: ConsoleConfig) -> bool:
    return config.behind_tls_proxy or scope.get("scheme") == "https"


def _cookie(scope: Scope, name: str) -> str | None:
    """Return the value of a cookie. None unless there is exactly one of this name."""
    prefix = f"{name}="
    found = [
        pair.strip().removeprefix(prefix)
        for header, value in scope["headers"]
        if header == b"cookie"
        for pair in value.decode("latin-1").split(";")
        if pair.strip().startswith(prefix)
    ]
    return found[0] if len(found) == 1 and len(found[0]) <= MAX_CREDENTIAL_LENGTH + 500 else None


def _signed_text(expires_at: int, nonce: str) -> str:
    return f"{_VERSION}.{expires_at}.{nonce}"


def _key(credential: str, secret: str) -> bytes:
    key = hashlib.sha256(_KEY_LABEL + credential.encode()).digest()
    return hmac.digest(key, secret.encode(), "sha256")


def _mac(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), "sha256").hexdigest()
