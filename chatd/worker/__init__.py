"""The worker: actors that claim chats, run their turns and recover the chats of dead workers.

::

    claimer ──claims──▶ chat_tasks ──task per lease──▶ runner ──▶ turn: history → next_step → model → store
    heartbeat ──renews leases──▶ chat_tasks        watchdog ──drops expired leases──▶ chat_tasks
    flusher ──streamed parts──▶ store              reaper ──chats of dead workers──▶ pending
    janitor ──deletes expired rows                 deregistration ──releases the rest at shutdown

A ``Lease`` is a chat that this process holds: a fencing token, a local deadline and a cancel scope.
``Writer`` makes the transitions of a leased chat durable, also across a database outage, until the lease
expires.

A turn can end badly in four ways, and they never mix:

* **refused**: the request is not legal. The API answers 4xx and nothing was written.
* **failed**: the turn cannot succeed. ``last_error`` says why and the status is ``error``.
* **lost**: the lease is over or another worker has the chat. The task stops, writes nothing and logs one
  line.
* **broken**: the infrastructure is down for longer than the lease. The lease runs out and a reaper takes
  over.

An unexpected exception is a **panic**: the chat fails with "chat processing panicked: …", the
traceback goes to the log, and all other chats go on. A database outage is none of these: the writer keeps
the response in memory and retries until the lease expires.

Actors have no default numbers: these stand in ``settings``, and ``daemon.wiring.worker`` passes them.
"""
