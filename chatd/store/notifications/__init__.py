"""NOTIFY and LISTEN between replicas.

A notification is a hint that a chat changed, never truth. It may be lost, late or repeated, and polls find
everything that it announces. So no code depends on one, and an outage costs time only.

A NOTIFY inside the transaction of a change would make all committers queue for one lock. So hints are sent
after the commit, many in one statement.
"""
