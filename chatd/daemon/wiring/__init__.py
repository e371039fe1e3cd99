"""Settings to actors: each module builds one part of the process and connects it to the shared parts.

An actor takes plain keyword values, never settings, so it can be built and tested without them. The
translation happens here and nowhere else. ``actors`` builds all of them, ``worker``, ``auth``, ``api`` and
``operations`` a part each. Nothing here has an effect: the supervisor starts what is built.
"""
