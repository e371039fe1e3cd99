"""Model providers behind one protocol.

::

    work ── ModelRequest ──▶ Provider.stream() ── Fragment, Fragment, …, Finished ──▶ work
                                  │ raises whatever it raises
                                  ▼
                              classify() ── Failure, or None: nobody knows this exception

A provider turns a vendor's stream into *deltas*: fragments of content parts in the shape of
``domain.message``, then one ``Finished``. Vendors are spelt in this room and nowhere else.

* **Finished is said, not assumed.** A vendor's stream may just end: the connection closes cleanly
  in the middle of a sentence and neither SDK complains. So ``Finished`` is yielded only when the
  vendor gave a reason for stopping. A stream that ends without it was *cut*: the caller says so.
  The other way round, an answer whose reason has arrived is whole, even when the wire breaks on
  the farewell (``[DONE]``, ``message_stop``).
* **One attempt is one request.** The retries of the SDKs are off; ``work`` retries, because only it
  can write down that it does. No deadline but that of connecting stands here either: how long
  silence may last is the caller's question, and cancelling its answer; it closes the connection.
* **Errors stay exceptions until the border.** Providers raise what they raise; ``classify`` turns
  that into a ``Failure`` in our words. What it does not know it does not name: it returns None and
  the caller has found a bug (a panic), not a bad day of the vendor.
* **Vendors are slow to import** (about a second), so they are imported in a worker thread at
  ``warm()`` or, failing that, at the first call. Importing this room imports none of them.
* **Text is passed on as it came**, NULs and lone surrogates included; whoever stores it cleans it
  once (``domain.failure.replace_unstorable_json``).

Files: ``provider`` (the protocol) and ``provider_errors``; ``pydantic_ai`` (the adapter) with
``connection``, ``openai_models`` and ``anthropic_models`` (how each vendor is reached), ``outgoing``
(our messages to theirs) and ``incoming`` (their events to our deltas); ``scripted`` (plays a
``sql_script``, each step a ``performance``); ``classify`` with ``kinds``, ``wording`` and
``retry_after_seconds``; ``catalog`` (which models there are).
"""
