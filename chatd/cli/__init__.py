"""The command line.

One module per command, each with a cyclopts ``App``. ``main`` lists the commands and imports a module
only when its command runs, so that ``chatd --help`` loads no database driver, no web framework and no
SDK. Modules import the daemon's packages inside functions for the same reason.

A command writes its result to standard output and its log to standard error. A failure is one clear
line (or one per problem) and an exit code of ``exit_codes``. Commands for people talk to a running
chatd through ``chatd.client``. Those for operators (``migrate``, ``token``, ``config``) read the
configuration and need no running chatd.

A new command is three edits: its module, a line in ``COMMANDS``, and a test.
"""
