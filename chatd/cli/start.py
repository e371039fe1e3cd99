"""What most commands begin with: the settings, and the log they ask for."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from chatd import logs
from chatd.settings import Settings, load
from chatd.settings.secrets import secrets_of

Config = Annotated[
    Path | None,
    Parameter(
        name=["--config", "-c"],
        help="The TOML file. Default: $CHATD_CONFIG, else /etc/chatd/config.toml if it exists.",
    ),
]

Flag = Annotated[bool, Parameter(show_default=False)]


def configured(config: Path | None) -> Settings:
    """Load the settings and set the log up. Raises ``ConfigurationError``."""
    settings = load(config)
    logs.hide(secrets_of(settings))
    logs.configure(level=settings.log.level, format=settings.log.format)
    return settings
