"""Settings: one tree of models, four sources, and errors that an operator can act on.

Most operators meet chatd here first, and often because of a misspelt key. Everything is therefore
read and checked before anything starts, and all problems are reported together, each with its key,
its place and the reason. No other package reads configuration files or environment variables, and
an actor gets plain keyword values, never these models.

The sources of a value, strongest first:

1. the environment: ``CHATD_WORKER__MAX_CHATS=50``, and ``CHATD_PROVIDERS__OPENAI__API_KEY`` in
   sections of named tables. Mappings and lists, such as ``settings``, are written as JSON. An
   empty variable counts as not set.
2. systemd credentials, for secrets only: the file ``$CREDENTIALS_DIRECTORY/providers.openai.api_key``,
   which is ``LoadCredential=providers.openai.api_key:/path`` in the unit.
3. the TOML file: ``--config``, else ``CHATD_CONFIG``, else ``/etc/chatd/config.toml`` if it exists.
4. the default in the model.

A secret may also be given as ``<key>_file``, the path of a file that holds it, in the TOML file
(relative to its folder) and in the environment.

A new setting is one field in ``sections`` or ``models``, with its description below it. The list of
known keys, ``config show``, ``config.example.toml`` and the reference page are derived from the fields.
``sources`` reads each source, and pydantic-settings merges and validates them.
"""

from chatd.settings.load import config_path, load, load_with_origins
from chatd.settings.models import ModelSettings, ProviderSettings
from chatd.settings.report import ConfigurationError, LoadedSettings, Problem, shown_settings
from chatd.settings.sections import HttpSettings, TurnSettings, WorkerSettings
from chatd.settings.settings import Settings

__all__ = [
    "ConfigurationError",
    "HttpSettings",
    "LoadedSettings",
    "ModelSettings",
    "Problem",
    "ProviderSettings",
    "Settings",
    "TurnSettings",
    "WorkerSettings",
    "config_path",
    "load",
    "load_with_origins",
    "shown_settings",
]
