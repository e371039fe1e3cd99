"""The OpenAPI document of the API, from which the clients' types are generated.

The document states what a client may rely on, so whatever can be derived is derived: problem
descriptions from the domain errors, schemas of events from the unions in ``schema.events``, summaries
from docstrings, and examples from those of the fields. A snapshot in ``clients/openapi.json`` makes each
change of it visible in review.
"""
