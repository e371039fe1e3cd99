"""Options and settings that most commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from chatd.settings import Settings

Config = Annotated[
    Path | None,
    Parameter(
        name=["--config", "-c"],
        help="Path of the TOML file. Default: $CHATD_CONFIG, else /etc/chatd/config.toml if it exists.",
    ),
]

Flag = Annotated[bool, Parameter(show_default=False)]


def load_settings(config: Path | None) -> "Settings":
    """Load the settings and configure the log. Raises ``ConfigurationError``."""
    from chatd import logs
    from chatd.settings import load
    from chatd.settings.secrets import secret_values

    settings = load(config)
    logs.register_secrets(secret_values(settings))
    logs.configure(level=settings.log.level, format=settings.log.format)
    return settings
