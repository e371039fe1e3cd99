"""Compaction: how a chat goes on that no longer fits into the window of its model.

A request that is too large is made smaller in one of two stages, between two steps of a turn. Stage one,
*pruning*, shows old results of tools as one line each, by which the model can read them again. Stage two
stores a *summary* that stands for all messages up to a boundary. The newest messages stay as they are, and
the user still reads all of them.

::

    compactor        the stages and tries of one turn: when, and what is stored
      ├─ pruning     which results are shown as one line
      ├─ boundary    which messages a summary may cover
      ├─ transcript  what the model that writes the summary reads
      ├─ summary     what it is asked, and the message that is stored
      └─ summary_call   the call of that model

All but the compactor and the call is pure. A boundary is durable and only rises, because each change of
what a model is shown costs the provider's cache of the prompt.
"""
