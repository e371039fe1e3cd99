"""Supervision: which tasks run, when they are restarted, and in which order they stop.

This package knows nothing of chats or databases. It keeps long-running tasks, called *children*, alive in
the way of Erlang/OTP, on anyio's structured concurrency: every task that it starts is awaited, and no
cancellation is swallowed.

::

    Supervisor                    the tree: order of start and stop, restart budget, escalation
      └─ ChildSupervisor          one child over all its restarts: backoff, dependents
           └─ ChildRun            one run of the child: readiness, graceful stop, end
                └─ spec.start(child)     the actor, often a Periodic around one step

The effect of each failure:

* **A permanent child ends, or a transient one raises**: siblings that depend on it are stopped, it is
  started again after a backoff, and then they are. Independent siblings are not affected. The backoff
  doubles, has jitter, and starts over once the child was up for ``stable_after_seconds``.
* **A temporary child ends, or a transient one returns**: it is not started again. The others go on.
* **A child is not ready in time, or cancels itself**: a failure like any other.
* **The restart budget is spent**: restarts have not helped, so the failure escalates. All children are
  stopped in reverse order and ``RestartBudgetExceeded`` leaves ``Supervisor.run``.
* **The budget of a child that is not essential is spent**: it is left alone for the window of its budget,
  and then started again. The others go on.
* **A child raises ``FatalError``**: the same at once, without a restart. It is for what a restart cannot
  cure, such as wrong configuration.
* **An expected outage** (the database is unavailable) is no failure. ``Outage`` waits it out inside the
  child, logs its begin and its end, and consumes no budget, nor the time that the child has to get ready.
* **A stop is requested**: children end in reverse order. Each is asked to stop, waited for, and then
  cancelled. A child is supervised until the request reaches it: a heartbeat that fails while its chats
  drain is restarted. An orderly stop stays one: failures on the way are logged, and ``run`` returns.
* **``run`` is cancelled**: the same order, by cancellation, and the cancellation propagates.
* **A child ignores its cancellation** (a shield without end): asyncio cannot kill a task, so
  ``supervisor.child_stuck`` is logged, the others are stopped, and ``run`` waits for it.

A heartbeat proves that a process lives, not that it makes progress. That is what ``progress`` is for: slow
things run in a ``Stage`` with a deadline of its own, and a ``CancelScopeWithCause`` records why it was
cancelled.
"""
