"""Authentication: turns a credential into an identity, before anything else looks at a request.

``Authentication`` asks the ``Authenticator`` that ``auth.mode`` selects: ``AnonymousAuthenticator``,
``TokenAuthenticator`` (access tokens, stored hashed) or ``JwtAuthenticator`` (JWTs of an identity
provider). The result is a ``Grant``, which a token's revocation or expiry ends. Streams are long, so
each registers a ``StreamSession`` with its grant and ends with it.

A grant belongs to the caller who sent the credential. The request may act for another owner (``acting``):
its ``Identity`` says who acts, as which owner, and with which scopes. ``permissions`` is the table of the
scopes that each operation takes. Authentication must not cost a round trip for each request,
hence the cache in ``tokens``. A revoked token must be rejected everywhere within a second, hence its loop.
"""
