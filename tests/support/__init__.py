"""Support of the tests: real daemons and databases, fake servers around them, and models to compare with.

A module is here because tests of several files use it. Nothing replaces PostgreSQL: a test that needs rows
inserts them (``factories``), and a test that needs a fault breaks a real connection or process. Tests
wait for facts with ``eventually``, never for time.
"""
