"""The console before the API, if it is on."""

from starlette.types import ASGIApp

from chatd.settings import Settings


def with_console(api: ASGIApp, settings: Settings) -> ASGIApp:
    """Return the application that the server calls: the API itself, unless the console is on."""
    if not settings.console.enabled:
        return api
    # Only with the console its templates, markdown and sanitiser are imported.
    from chatd.console.app import Console  # noqa: PLC0415
    from chatd.console.config import ConsoleConfig  # noqa: PLC0415

    secret = settings.console.secret
    return Console(
        api,
        ConsoleConfig(
            signs_in=settings.auth.mode != "none",
            secret=secret.get_secret_value() if secret else "",
            session_hours=settings.console.session_hours,
            behind_tls_proxy=settings.http.behind_tls_proxy,
            loopback_only=settings.auth.mode == "none",
            allowed_origins=tuple(settings.http.cors_origins),
        ),
    )
