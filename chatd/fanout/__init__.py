"""The fast path inside one process: what was just written reaches local viewers without a query.

::

    a move went through ──▶ Hints.moved ──▶ Hub.feed ──▶ Subscription (one per open stream)
                                 ├────────▶ whoever acts on hints here (acquirer, roster)
                                 └────────▶ the notifier ─▶ NOTIFY ─▶ other processes' Hints.heard

    a part was streamed ──▶ Preview (one per running step, shared by all its viewers)

Nothing here is truth. A hint that is lost costs latency; an entry that does not follow on what a
topic has marks it as behind, and it is read from the database. Viewers share a step's ``Preview``
and pull from it at their own pace, so a slow one costs a position, not a buffer; the journal rows
that wait for it are bounded, and past the bound its stream ends and the client resumes.

``lists`` does the same for the lists of owners, by states rather than by moves: a chat that moves again
before a viewer looks replaces what waits of it.
"""
