"""Publish and subscribe inside one process: what it just wrote reaches local subscribers without a query.

::

    a transition committed ─▶ ChangeBus.publish ─▶ ChatHub.publish ─▶ Subscription (one per stream)
                                   ├─────────────▶ listeners of this process (claimer, chat tasks, lists)
                                   └─────────────▶ the notifier ─▶ NOTIFY ─▶ ChangeBus.receive of others

    a live part arrived ─▶ Preview (one per running step, shared by all its subscribers)

Nothing here is truth. A lost hint costs latency. An entry that does not follow on what a topic has
delivered marks the topic as stale, and it is read from the database.

Everything is bounded. Subscribers share a step's ``Preview`` and read from it at their own pace, so a slow
one costs a position and no buffer. The journal entries that are pending for a subscriber are counted, and
past the bound its stream ends and the client resumes.

``ListHub`` does the same for lists of chats, by states instead of entries: a chat that changes again
before a subscriber was sent it replaces the pending state.
"""
