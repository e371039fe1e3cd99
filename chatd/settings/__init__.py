"""Settings: one tree, four sources, and errors a person can act on.

Operators meet chatd here first, and usually because of a typing mistake. So the whole tree is read
before anything starts, every key is checked, and all problems are reported together, each with its
key, where it came from and what is wrong with it. Nothing upstairs or downstairs reads a file or
an environment variable of its own, and an actor gets plain keyword values, never this tree.

Where a value comes from, strongest first:

1. the environment: ``CHATD_WORKER__MAX_CHATS=50``, and ``CHATD_PROVIDERS__OPENAI__API_KEY`` in the
   sections that hold named tables (a mapping or list, such as ``settings``, is written as JSON); an empty
   variable counts as not set;
2. systemd credentials, secrets only: the file ``$CREDENTIALS_DIRECTORY/providers.openai.api_key``,
   that is ``LoadCredential=providers.openai.api_key:/path`` in the unit;
3. the TOML file: ``--config``, else ``CHATD_CONFIG``, else ``/etc/chatd/config.toml`` if it exists;
4. the default that stands in the tree.

A secret may also be given as ``<key>_file``, the path of a file that holds it, in the TOML file
(relative to its folder) and in the environment.

The files: ``sections`` and ``catalog`` are the tree's leaves, ``tree`` its root and the checks
between keys, ``keys`` the list of known keys (read off the tree, so there is no second list),
``layer`` one source's findings, ``sources`` the three readers, ``load`` puts them together and
``show`` prints them without secrets. pydantic-settings merges the sources and checks the tree; the
sources are our own, because its ready-made ones know neither where a value came from nor that a
variable was misspelt.
"""

from chatd.settings.load import LoadedSettings, config_path, load, load_with_origins
from chatd.settings.models import ModelSettings, ProviderSettings
from chatd.settings.problems import ConfigurationError, Problem
from chatd.settings.report import ShownSetting, shown_settings
from chatd.settings.sections import (
    AuthSettings,
    DatabaseSettings,
    HttpSettings,
    LimitSettings,
    LogSettings,
    MetricsSettings,
    StreamSettings,
    TurnSettings,
    WorkerSettings,
)
from chatd.settings.settings import Settings
from chatd.settings.source_values import Origin

__all__ = [
    "AuthSettings",
    "ConfigurationError",
    "DatabaseSettings",
    "HttpSettings",
    "LimitSettings",
    "LoadedSettings",
    "LogSettings",
    "MetricsSettings",
    "ModelSettings",
    "Origin",
    "Problem",
    "ProviderSettings",
    "Settings",
    "ShownSetting",
    "StreamSettings",
    "TurnSettings",
    "WorkerSettings",
    "config_path",
    "load",
    "load_with_origins",
    "shown_settings",
]
