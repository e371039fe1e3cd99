"""HTTP in, SSE out.

This room and ``work`` never call each other: they meet in the store, which is the truth, and in the
hub, which is fast. A request is one move or one read. A stream subscribes first, then reads, then
drops what it has twice; after that one batched read serves all streams of the process.
"""
