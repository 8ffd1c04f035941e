"""Priorities of I/O: ioprio_set(2) and ioprio_get(2).

As nice values of a machine with one processor, they are remembered and read back; there is no
disk queue that could honour them.
"""

from __future__ import annotations

from lxemu.kernel.cred import PRIV_PROC_PRIOUP, PRIV_SYS_ADMIN
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from syscalls.abi import Int, syscall
from syscalls.handlers.sched_ import PRIO_PGRP, PRIO_PROCESS, PRIO_USER, selected

LX_IOPRIO_WHO_PROCESS, LX_IOPRIO_WHO_PGRP, LX_IOPRIO_WHO_USER = 1, 2, 3
_PRIO_WHICH = {
    LX_IOPRIO_WHO_PROCESS: PRIO_PROCESS,
    LX_IOPRIO_WHO_PGRP: PRIO_PGRP,
    LX_IOPRIO_WHO_USER: PRIO_USER,
}
LX_IOPRIO_CLASS_NONE, LX_IOPRIO_CLASS_RT, LX_IOPRIO_CLASS_BE, LX_IOPRIO_CLASS_IDLE = range(4)
LX_IOPRIO_CLASS_SHIFT = 13
_LEVELS = 7  # mask; the bits between level and class are hints


def _selected(lwp: Lwp, which: int, who: int) -> list[Lwp]:
    """Return the threads that a (which, who) pair names: EINVAL, ESRCH."""
    if which not in _PRIO_WHICH:
        raise KernelError(Errno.EINVAL)
    chosen = selected(lwp, _PRIO_WHICH[which], who)
    if not chosen:
        raise KernelError(Errno.ESRCH)
    return chosen


def _check(lwp: Lwp, ioprio: int) -> None:
    """EINVAL for a priority that does not exist, EPERM for one that needs a privilege."""
    kind, level = ioprio >> LX_IOPRIO_CLASS_SHIFT, ioprio & _LEVELS
    if not 0 <= kind <= LX_IOPRIO_CLASS_IDLE or (kind == LX_IOPRIO_CLASS_NONE and level):
        raise KernelError(Errno.EINVAL)
    cred = lwp.proc.cred
    if kind == LX_IOPRIO_CLASS_RT and not cred.crhas(PRIV_SYS_ADMIN | PRIV_PROC_PRIOUP):
        raise KernelError(Errno.EPERM)


@syscall
def ioprio_set(lwp: Lwp, which: Int, who: Int, ioprio: Int) -> int:
    """Set the I/O priority of threads (ioprio_set(2)): EINVAL, EPERM, ESRCH."""
    _check(lwp, ioprio)
    cred = lwp.proc.cred
    for target in _selected(lwp, which, who):
        ruid = target.proc.cred.ruid
        if ruid not in (cred.euid, cred.ruid) and not cred.crhas(PRIV_PROC_PRIOUP):
            raise KernelError(Errno.EPERM)
        target.io_priority = ioprio
    return 0


@syscall
def ioprio_get(lwp: Lwp, which: Int, who: Int) -> int:
    """Return the I/O priority of a thread, the best of several (ioprio_get(2)): EINVAL, ESRCH."""
    values = [target.io_priority for target in _selected(lwp, which, who)]
    return min((value for value in values if value), default=0)
