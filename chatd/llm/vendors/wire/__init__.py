"""Normalised provider streams: whatever bytes arrive, the SDK reads clean records or an error is raised.

Servers of one API spell it in many ways, and the decoders of the SDKs know one. So each response passes
through here first::

    http            the HTTP client: redirects, bounds, and the response that the SDK reads
      ├─ event_stream   bytes → server-sent events, by the specification
      ├─ chat_completions, responses, anthropic_messages
      │                 events of an API → records that its SDK understands
      └─ record         one answer so far: its end and its usage, which are read here and nowhere else
           ├─ endings   finish reason → its verdict; one table
           └─ usage     running totals of tokens

A record is built anew from values whose types were checked, or the answer fails with
``InvalidProviderResponse`` (it cannot be read) or ``ProviderError`` (the provider says that it failed).
"""
