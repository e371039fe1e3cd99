"""Readers of what a request carries besides its body: caller, headers, query, page, idempotency key.

Each is a FastAPI dependency, or the rule behind one, that routes name in their signatures. Headers are
read from the scope and not declared as FastAPI parameters: each would add a third to what FastAPI costs,
and one that is sent twice would be accepted. ``openapi.document`` describes them by the rules in
``headers``.
"""
