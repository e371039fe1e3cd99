"""Wrapper that executes a program which gets a signal when its parent dies. Run by path, never imported.

Linux sends a process the signal it requested with ``PR_SET_PDEATHSIG`` when the *thread* that forked it
ends. The request survives an exec but not a change of account, so the order matters: drop privileges,
request the signal, check that the parent is still alive (it may have died before the request), exec. A
program of its own is safe when the parent has threads, unlike code between fork and exec. See prctl(2),
PR_SET_PDEATHSIG.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def drop_privileges(uid: int, gid: int) -> None:
    """Become this account."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def set_death_signal(parent_pid: int, death_signal: int) -> None:
    """Request a signal for the death of the parent. Exits if the parent is dead already."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:
        sys.exit("the parent ended before its child began")


def main(parent_pid: str, death_signal: str, account: str, *program: str) -> None:
    """Execute ``program`` as ``account``, which is ``uid:gid`` or empty."""
    if account:
        uid, gid = account.split(":")
        drop_privileges(int(uid), int(gid))
    set_death_signal(int(parent_pid), int(death_signal))
    os.umask(0o077)
    # Python ignores SIGPIPE, and the program would inherit that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execv(program[0], program)  # noqa: S606 - replacing this process, without a shell, is the purpose


if __name__ == "__main__":
    main(*sys.argv[1:])
