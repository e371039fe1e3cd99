"""Migrations of the schema: plain SQL files, applied under a lock, and recorded with their checksums.

The files are what psql can run, so an operator who applies changes by hand needs no chatd for it, and
``sql_script`` prints them. There is no model of the schema in Python and nothing is generated: with one
statement per transition, the SQL is the design.

Every start compares the recorded versions with the files and refuses a schema that is too old or too new. A
process never runs with a schema that it was not written for.
"""
