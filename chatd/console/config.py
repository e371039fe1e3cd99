"""Configuration of the console."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleConfig:
    """Values of the settings that the console needs. None of them is reloaded."""

    signs_in: bool
    """False without authentication: then there are no sessions."""
    secret: str
    """Key of the signature of sessions, besides their credentials. Empty: there is none."""
    session_hours: float
    behind_tls_proxy: bool
    loopback_only: bool
    allowed_origins: tuple[str, ...]
