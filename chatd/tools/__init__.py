"""Tools that the server runs when a model calls them.

A tool is a value: what the model is shown of it, and a function. It sees the arguments of one call and no
chat. A tool whose endpoint honours an idempotency key has exactly one effect, because ``ToolRequest.key``
is the same for each start of a call. Nothing is imported for tools that are not configured.
"""
