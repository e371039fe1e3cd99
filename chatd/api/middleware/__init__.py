"""ASGI middlewares that know nothing of chats.

All have one form: ``app`` first, then keywords, a pass-through for anything but HTTP, and a wrapper of
``send`` or ``receive`` named after what it adds. They are plain ASGI and not Starlette's
``BaseHTTPMiddleware``, which starts a task for each request and gets between a stream and its client.

``app.py`` lists them in their order. ``auth.middleware`` is the one that lives elsewhere, beside what
it authenticates with. A value that a reload may change is passed as a callable.
"""
