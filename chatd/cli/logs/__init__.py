"""``chatd logs``: a reader of the log that chatd writes.

::

    command    options; connects the stages below
      ├─ tail      files as chunks of bytes, also files that grow, rotate or are compressed
      ├─ parse     bytes to log lines, whatever a collector put around them
      ├─ filter    selection by chat, event, level and time
      └─ render    log lines as text for people
    times      points in time and durations, as people write them

``chatd.logs`` is the writer. The reader must accept any bytes: a process that dies may leave half a
line, and other programs write to the same journal.
"""
