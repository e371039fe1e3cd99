"""HTTP in, SSE out.

This room and ``work`` never call each other: they meet in the store, which is the truth, and in the
hub, which is fast. A request is one move or one read. A stream subscribes first, then reads, then
drops what it has twice; after that one batched read serves all streams of the process.

A request passes the ``door`` first, where a ``Authenticator`` says whose it is: ``AnonymousAuthenticator`` without
authentication, the ``TokenAuthenticator`` by tokens, ``Jwts`` by what an identity provider signed. Routes take a
``CallerOptions``, and streams begin a ``Stay``, which ends when their caller may not be here any more.
Who is nobody gets 401; another's chat is 404; what is beyond a limit names it. When the database or
the key set is away, it is 503, and who is inside stays.
"""
