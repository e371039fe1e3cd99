"""Streams of chats as protocol-neutral events.

::

    journal, live parts ──▶ ChatStreamPoller ──▶ ChatHub ──▶ ChatStream ──▶ a protocol
    changed chats ────────▶ ChatListPoller ────▶ ListHub ──▶ ChatListStream ──▶ a protocol

A stream subscribes, is opened at a cursor or without one, and then yields batches of ``StreamEvent``::

    with subscribe_to_chat(hub, stream_reads, chat_id) as stream:
        await stream.open(cursor, owner_id=owner_id)
        async for events in stream.events(idle_seconds=15):
            ...  # an empty batch: nothing happened for so long
        stream.end_reason

Nothing here knows HTTP. The server-sent events of ``chatd.api`` and every other protocol are spellings
of these events, so none of them repeats how to subscribe, read, resume, wait or end.

* **The journal is the stream.** The events of an entry follow from the entry alone, so each replica sends
  the same ones, and a cursor of one resumes on every other.
* **Subscribe, then read, then drop duplicates.** Nothing is lost or repeated between a read of the
  database and the live events, whatever happens meanwhile.
* **One read serves all streams of a process.** A poller reads what hints name, and everything from time
  to time, so a hint that never arrives costs latency and nothing else.
* **A stream may end at any time.** The process drains, the client reads too slowly, the chat is deleted:
  ``end_reason`` tells, and the client resumes from its last cursor.
"""
