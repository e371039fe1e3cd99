"""Become another program that dies with its parent. Run by path, in a process of its own, never
imported.

Linux sends a process the signal it asked for with ``PR_SET_PDEATHSIG`` when the *thread* that
forked it ends. The setting survives an exec but not a change of account, so the order below is the
point: drop privileges, ask for the signal, see that the parent is still there (it may have died
before the asking), exec. Doing this in a program of its own, rather than between fork and exec in
the parent, is what makes it safe when the parent has threads. See prctl(2), PR_SET_PDEATHSIG.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def drop_privileges(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def set_death_signal(parent_pid: int, death_signal: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:
        sys.exit("the parent ended before its child began")


def main(parent_pid: str, death_signal: str, account: str, *program: str) -> None:
    if account:
        uid, gid = account.split(":")
        drop_privileges(int(uid), int(gid))
    set_death_signal(int(parent_pid), int(death_signal))
    os.umask(0o077)
    # Python ignores SIGPIPE, and an exec would pass that on.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execv(program[0], program)  # noqa: S606 - becoming that program, without a shell, is the purpose


if __name__ == "__main__":
    main(*sys.argv[1:])
