"""The UI message stream protocol of Vercel's AI SDK, versions 5, 6 and 7.

Its clients name no version in a request, and one of them throws on chunks of a later one. So the path
has the version: ``/ai/v7/chat``.
"""
