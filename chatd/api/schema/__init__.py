"""Bodies of requests and responses as pydantic models, and the events of the streams.

The names are those of the OpenAPI document. Where the domain has a class of the same name, a module
imports this one with its module, as ``resources.Chat``. Requests are validated: strings are made storable,
every list, map and string has a bound, and unknown fields are errors. Responses are made from domain
objects by ``api.presenter``. Parts and events are only described here, and sent as plain mappings, because
a stream sends thousands of them a second.
"""
