"""``chatd chat``: a conversation with a model in the terminal.

::

    command                 options, and the choice between the two modes
      ├─ interactive        a prompt at the bottom of the screen, the transcript above it
      │    └─ transcript_renderer   events as Markdown that is printed once it can no longer change
      └─ piped              lines from standard input, answers as plain text or JSON
    conversation            one chat, and the effect of a typed line; used by both modes

prompt_toolkit and rich take long to import, so only the interactive mode loads them.
"""
