"""Routes: one module for each resource, one function for each operation.

A route does three things: it takes its parameters from ``request``, makes one call of the store, and
presents the result. The store publishes what it committed by itself. Anything more belongs elsewhere:
rules to ``domain``, limits to ``request.limits``, the shape of responses to ``schema`` and ``presenter``.

Names of functions are operation ids of the OpenAPI document, and so methods of generated clients.
Docstrings are its texts. The first sentence is the summary, unless the decorator has another one.
Each route names the problem codes of its own. ``openapi.document`` adds those of its kind.
"""
