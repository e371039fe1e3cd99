"""The command line: what an operator types.

One file per command, each with an ``app``; ``root`` lists them by name and imports a file only when
its command is used, so that ``chatd --help`` costs no database driver, no web framework and no SDK.
Commands answer on standard output and log to standard error. What goes wrong is one clear line (or
one per problem) and an exit code from ``exits``, which is the one place that knows them.
"""
