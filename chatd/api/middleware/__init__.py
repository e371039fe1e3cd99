"""Steps between the server and the routes. They know nothing of chats.

Each module has one concern, as plain functions or one class without a wrapper of its own: they take the
request's ``scope``, and raise what refuses it. ``pipeline`` calls them in their order, and words refusals
in one place. ``auth.authentication`` is the one step that lives elsewhere, beside what it authenticates
with. A value that a reload may change is passed as a callable.
"""
