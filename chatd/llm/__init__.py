"""Model providers behind one protocol.

::

    worker ── ModelRequest ──▶ Provider.stream() ── PartDelta, PartDelta, …, Finished ──▶ worker
                                    │ raises whatever it raises
                                    ▼
                                classify() ── Failure, or None for an exception that is no provider's

A provider turns the stream of an API into *deltas*: pieces of content parts in the shape of
``domain.message``, then one ``Finished``. The spelling of an API appears in this package and nowhere else.

* **The end is explicit.** A stream may just end: the connection closes cleanly in the middle of a sentence,
  and no SDK raises. So ``Finished`` is yielded only if the provider sent a finish reason. A stream that
  ends without one was *truncated*, and the caller reports it. Conversely, a response whose reason has
  arrived is complete, even if the connection breaks on the last message (``[DONE]``, ``message_stop``).
* **One attempt is one request.** The retries of the SDKs are off. ``worker`` retries, because only it can
  record a retry durably. The only timeout here is that of connecting: the caller decides how long a stream
  may be silent, and cancels it, which closes the connection.
* **Errors stay exceptions until the border.** Providers raise what they raise. ``classify`` turns that into
  a ``Failure`` in our words, and returns None for an exception it does not know: that is a bug (a panic),
  not a failure of the provider.
* **SDKs are slow to import** (about a second), so they are imported in a worker thread at ``warm()`` or, at
  the latest, at the first call. Importing this package imports none of them.
* **Text is passed on as it came**, NULs and lone surrogates included. The store replaces them once
  (``domain.sanitize.replace_unstorable_json``).

::

    provider     the protocol                      catalog    models and their providers
    errors       exceptions of this package        failures/  from an exception to a Failure
    vendors/     provider kinds and their SDKs     scripted/  a provider that plays a script
"""
