"""Tools of MCP servers: programs and endpoints of other people, which may fail in any way.

::

    McpServers                    the tools of all servers, as a snapshot for each turn
      └─ McpServer                one server: its calls and its list of tools, as callers see them
           └─ open_connection     its session, over ``StdioTransport`` or HTTP; the only user of the SDK

Each server has an actor of its own, which alone opens, uses and closes the connection. A caller puts a call
on the server's list and waits for its outcome with its own time limit. The cancel scope of a caller never
surrounds code of the SDK, which takes seconds to return when a server does not respond.

A server decides what it sends. So everything that arrives is bounded before it is kept: the size of a
message, the pace of messages, the number and the size of tools, and the text of a result. Its JSON schemas
are handed on to the model, and never evaluated: a schema of a few hundred bytes can keep a validator busy
for ever.

The SDK takes half a second to import. ``sdk`` is the only module that does so, in a thread, when the first
server is connected.
"""
