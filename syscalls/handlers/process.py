"""Ending: exit(2), exit_group(2); getrusage(2) and times(2) are in rlimit.py and time_.py."""

from __future__ import annotations

from lxemu.kernel.exit import lwp_exit, proc_exit
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.signal import CLD_EXITED
from syscalls.abi import Int, syscall


@syscall
def exit_(lwp: Lwp, status: Int) -> int:
    """End the calling thread; the status counts if it is the last one (_exit(2))."""
    lwp_exit(lwp, CLD_EXITED, status & 0xFF)


@syscall
def exit_group(lwp: Lwp, status: Int) -> int:
    """End the process with all its threads (exit_group(2))."""
    proc_exit(lwp, CLD_EXITED, status & 0xFF)
