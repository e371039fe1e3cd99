"""Chaos: three replicas under faults of every kind, and an audit of what is left.

``plan``       the faults of a run: a function of its seed
``replicas``   three real ``chatd run`` processes, each behind a proxy of its own to PostgreSQL
``model``      a model server in a process of its own, whose faults are ordered call by call
``tools``      a tool server in a process of its own, with a log of every effect
``callers``    clients that do everything the API allows, and repeat what was lost
``subscribers``  streams that are cut and resume elsewhere from their cursor
``injector``   carries out the plan
``evidence``   what the database, the clients, the model and the logs have to say at the end
``audit``      the rules, each a function that returns its violations with their evidence
``run``        one run, from start to audit; ``__main__`` is its command line
"""
