"""The shop floor: the actors that claim chats, work them, and pick up after those who died.

::

    acquirer ──claims──▶ roster ──one task each──▶ runner ──▶ turn: history → next_step → model → store
    heartbeat ──renews, or says lost──▶ roster          watchdog ──lease ran out──▶ roster
    flusher ──parts to other replicas──▶ store          reaper ──chats of the dead──▶ pending
    janitor ──what is past its retention──▶ gone

A turn has four ways to go wrong, and they never mix:

* **refused**: an illegal request; the API says so and nothing was written.
* **failed**: this turn cannot succeed; ``last_error`` says why, the status is ``error``.
* **lost**: the epoch moved on; the runner stops, writes nothing, and says so once.
* **broken**: infrastructure beyond patience, for the supervisor to judge.

An exception that nobody expected is a **panic**: the chat fails with "chat processing panicked", the
traceback goes to the log, and everybody else goes on. A database that is away is none of these: the
runner keeps the answer in its hands and tries again until its lease is up.
"""
