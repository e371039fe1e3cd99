"""Chat Completions: the dialect of OpenAI's clients that has a whole conversation in each request.

::

    request ──▶ messages ──▶ operations
    items of a turn ──▶ wire (chunks), whole (one response)
"""
