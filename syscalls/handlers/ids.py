"""Process, group and session ids.

Getpid(2), getppid(2), gettid(2), setpgid(2), setsid(2), getsid(2).
"""

from __future__ import annotations

from lxemu.kernel import session
from lxemu.kernel.errno import Errno, KernelError
from lxemu.kernel.lwp import Lwp
from lxemu.kernel.proc import Proc
from syscalls.abi import Pid, syscall


def find_proc(lwp: Lwp, pid: int) -> Proc:
    """Return process `pid` of the caller's zone, the caller for 0; ESRCH."""
    if pid == 0:
        return lwp.proc
    proc: Proc | None = lwp.machine.procs.get(pid)
    if proc is None:
        # A thread id names its process in most calls (find_task_by_vpid).
        thread = lwp.machine.lwp_by_tid.get(pid)
        if thread is None:
            raise KernelError(Errno.ESRCH)
        proc = thread.proc
    return proc


@syscall
def getpid(lwp: Lwp) -> int:
    """Return the process id, the same in every thread (getpid(2))."""
    return lwp.proc.vpid


@syscall
def gettid(lwp: Lwp) -> int:
    """Return the thread id, the process id in the first thread (gettid(2))."""
    return lwp.vtid


@syscall
def getppid(lwp: Lwp) -> Pid:
    """Return the parent's process id (getppid(2))."""
    return lwp.proc.ppid


@syscall
def getpgrp(lwp: Lwp) -> Pid:
    """Return the caller's process group (getpgrp(2))."""
    return lwp.proc.pgrp.pgid


@syscall
def getpgid(lwp: Lwp, pid: Pid) -> Pid:
    """Return the process group of `pid`; ESRCH (getpgid(2))."""
    return find_proc(lwp, pid).pgrp.pgid


@syscall
def getsid(lwp: Lwp, pid: Pid) -> Pid:
    """Return the session of `pid`; ESRCH (getsid(2))."""
    return find_proc(lwp, pid).session.sid


@syscall
def setpgid(lwp: Lwp, pid: Pid, pgid: Pid) -> int:
    """Move a process into a group: EINVAL, ESRCH, EPERM, EACCES after its exec (setpgid(2))."""
    caller = lwp.proc
    if pgid < 0:
        raise KernelError(Errno.EINVAL)
    target: Proc | None = caller if pid == 0 else lwp.machine.procs.get(pid)
    if target is None:
        # A thread is somebody, but leads no process.
        raise KernelError(Errno.EINVAL if pid in lwp.machine.lwp_by_tid else Errno.ESRCH)
    session.setpgid(caller, target, pgid or target.pid)
    return 0


@syscall
def setsid(lwp: Lwp) -> Pid:
    """Start a session; EPERM for a process group leader (setsid(2))."""
    return session.setsid(lwp.proc)
