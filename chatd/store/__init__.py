"""Everything that speaks SQL: transitions, reads, leases, notifications and migrations.

Each transition of ``domain.transitions`` is one statement in ``queries/``. It locks the chat's row, checks
the table of transitions, writes, and appends to the journal, all in one transaction.

* **The fence is in the WHERE clause.** Zero rows is an answer (``LeaseLost``), not an error to retry.
* **A statement that waited for a lock has an old snapshot.** It sees the locked row as it is now and every
  other table as it was before. So a transition that reads other tables compares the version in its snapshot
  with the version that it locked, returns ``stale`` if they differ, and is run again.
* **No transaction spans two round trips.** So no pooled connection is held while something else is awaited,
  and pooled connections carry no session state: releasing one costs no reset.
* **Commits are reported where results are made.** ``commits.CommitListener`` makes every
  ``TransitionResult``, so no caller has to remember to publish.
* **Errors are translated once**, in ``database``: an unreachable database becomes ``DatabaseUnavailable``.
  Every other error is a bug and passes through.
"""
