"""The section of the console."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from chatd.settings.types import Section

_MIN_SESSION_SECRET = 32


def _check_session_secret(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < _MIN_SESSION_SECRET:
        raise ValueError(f"must have {_MIN_SESSION_SECRET} characters at least")
    return secret


SessionSecret = Annotated[SecretStr, AfterValidator(_check_session_secret)]


class ConsoleSettings(Section):
    """The console: web pages at / to talk to models, and to see how chats are run."""

    enabled: bool = False
    """Serve the console. 'chatd dev' does by default."""
    session_hours: float = Field(12, gt=0, le=8760)
    """Time after which people have to sign in again. A token or JWT that expires or is revoked ends its
    sessions at once."""
    secret: SessionSecret | None = Field(None, examples=["long and random text, of 32 characters"])
    """Key of the signature of session cookies, of 32 characters at least, the same on every replica. A
    change ends all sessions. Not set: the signature depends on the token or JWT alone."""
