"""The console: web pages that show chats and how they are run, served at ``/``.

A page is made by calling ``/api/v1`` in this process, with the credential of the session, so that the
console can do nothing that the API cannot. Scripts of a page call it too, by the session's cookie.
``gate`` turns that into the header that the API knows. The API itself knows no sessions, and without the
console no request passes anything of this package. Decision record 0062 has the reasons.
"""
