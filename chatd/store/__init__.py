"""The only room that speaks SQL.

Each move of ``domain.moves`` is one method here and one statement in ``queries/``, which locks the
chat's row, checks the table of moves, writes, and appends to the journal in the same transaction.

* **The fence is in the WHERE clause.** Zero rows is an answer (``Lost``), not an error.
* **A statement that waited for a lock has an old snapshot.** It sees the locked row as it is now and
  every other table as it was before; so a move that reads other tables compares the version it saw
  with the version it locked, answers ``again`` when they differ, and is asked again.
* **No transaction spans two round trips**, so a pooled connection is never held while something else
  is awaited, and pooled connections carry no session state: releasing one costs no reset.
* **Errors are translated once**, in ``pool``: what means that the database is away becomes
  ``DatabaseUnavailable``; everything else is a bug and stays what it is.
"""
