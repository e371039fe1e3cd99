"""Adapters: protocols of other clients, spelled over chats.

An adapter serves the protocol of a client that people have already, under a path prefix of its own. It
makes no state: a chat, its history and its transitions are those of the native API.

::

    request ──▶ routes of a dialect ──▶ client_history ──▶ operations ──▶ store
    store, hub ──▶ streaming ──▶ turn_item_reader ──▶ turn_stream ──▶ wire of the dialect

* ``turn_items`` is the closed set of what can happen in one turn. A dialect spells it, and nothing else.
* ``turn_item_reader`` makes these items of a snapshot and the events of a stream: the same ones live,
  after a cut, and from the history.
* ``turn_stream`` takes a stream slot, subscribes, makes the transition and reads.
* ``registry`` lists the adapters. A new one is a folder, a row there and a name in the settings.

Nothing here imports ``worker``.
"""
