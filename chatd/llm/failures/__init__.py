"""Failures of providers: from an exception to a ``Failure`` in our words.

::

    classify     an exception and its causes → Failure, or None
      ├─ table        status, code, phrase, class → kind; tables only
      ├─ messages     kind → a sentence for a person, with at most a short reason of the provider
      └─ retry_after  response headers → seconds to wait

Nothing is imported to recognise an exception: classes are compared by library and name, so that an SDK that
was never loaded costs nothing.
"""
