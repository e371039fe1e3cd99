"""Supervision: what runs, what is restarted, and in which order it stops.

This room has never heard of chats or databases. It keeps long-running tasks, called *children*,
alive in the way of Erlang/OTP, on anyio's structured concurrency: nothing here is started that is
not also awaited, and no cancellation is swallowed.

    Supervisor          the tree: order of start and stop, restart budget, escalation
      └─ Keeper         one child over all its restarts: backoff, calm, the siblings that need it
           └─ Life      one run of the child: readiness, the polite stop, the end
                └─ spec.start(child)            the actor, often a Periodic around one step

What each failure does:

* **A permanent child ends**, or a transient one raises: siblings that *need* it are stopped, it is
  started again after a backoff, then they are. Independent siblings notice nothing. The backoff
  doubles, has jitter, and starts over once the child stayed up for a calm period.
* **A temporary child ends**, or a transient one returns: that was all; the others go on.
* **A child is not ready in time, or cancels itself**: a failure like any other.
* **The restart budget is spent**: a local cure has not helped, so the failure goes upward. All
  children are stopped in reverse order and ``RestartBudgetExceeded`` leaves ``Supervisor.run``.
* **A child raises ``Fatal``**: the same at once, without a restart. It is for what a restart cannot
  cure, such as wrong configuration.
* **An outage that was expected** (the database is away) is no failure: ``Outage`` waits it out inside
  the child, logs its begin and its end, and no budget is spent.
* **Stop is asked**: children end in reverse order, each asked first, waited for, then cancelled. A
  child is supervised until its own turn comes: the heartbeat that dies while its chats drain is
  restarted. An orderly stop stays one: what fails on the way is logged, ``run`` returns.
* **``run`` is cancelled**: the same order, by cancellation, and the cancellation goes on outward.
* **A child ignores its cancellation** (a shield without end): no task can be killed in asyncio, so
  ``supervisor.child_stuck`` is logged, the others are stopped, and ``run`` waits for it.

A heartbeat proves that a process lives, not that it gets anywhere. That is what ``progress`` is for:
slow things run in a ``zone`` with a deadline of their own, and a ``Scope`` says why it was cancelled.
"""
