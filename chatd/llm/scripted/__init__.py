"""Scripted provider: plays a script instead of calling an API.

It serves tests, ``chatd demo`` and long soaks without a network. It implements the same protocol and fails
in the same ways as a real provider.

::

    provider    chooses the script of a request and plays it
      ├─ script     the steps, as they stand in TOML
      └─ rendering  one step → deltas or an exception; pure
"""
