"""The HTTP API: requests in, responses and server-sent events out.

This package and ``worker`` never call each other. They meet in the store, which holds the truth, and in
``fanout``, which is fast. A request is one transition or one read.

A request passes the steps that ``pipeline`` lists, of which ``auth`` decides who is calling. FastAPI then
finds its route, which gets its ``Caller`` from ``request``, calls the store through ``ApiContext``, and
presents the result by the models of ``schema``. Ordinary requests to the routes of a turn go there
without FastAPI (``routes.hot``). Streams come from ``streaming`` as protocol-neutral events, and ``sse``
spells them. An error becomes a problem with a stable code in ``errors``, and ``openapi`` describes all of
it.

The rules that hold everywhere: a request without a valid credential gets 401. A chat of another owner is
404, as if it did not exist. A limit that was exceeded is named in the response. While the database or
the identity provider's key set is unavailable, requests get 503 and open streams stay open.

The order of imports is a contract in ``pyproject.toml``.
"""
