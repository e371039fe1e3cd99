"""Errors as HTTP responses: the one place where exceptions become words for a client.

``codes`` lists every problem code with its status and description. ``problems`` turns exceptions into
responses: domain errors by their code, ``HttpProblem`` for what only HTTP knows, an unavailable database
as 503, and everything else as a 500 without details, which are in the log.
"""
